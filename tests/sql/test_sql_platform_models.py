"""The models of dbt_like_sql: right on a small world, valid on an empty one, stable under shuffling."""

import json

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.sql import run_model

PLAIN_TYPES = {"string", "int64", "uint32", "double", "bool", "timestamp[us]"}
MARTS = (
    "mart_budget_frontier",
    "mart_checkpoint_provenance",
    "mart_checkpoints",
    "mart_corpus_mix",
    "mart_documents",
    "mart_intake",
    "mart_reasons",
    "mart_scores",
    "mart_selection_mix",
    "mart_trials",
    "mart_withdrawals",
)


def test_every_model_and_column_is_described(project):
    assert set(MARTS) <= set(project.models)
    for model in project.models.values():
        assert model.description, model.name
        assert [column.name for column in model.columns if not column.description] == [], model.name
    for source in project.sources.values():
        assert source.description, source.name
        assert all(column.description and column.data_type for column in source.columns), source.name


def test_marts_are_tables_and_other_models_views(project):
    kinds = {(model.layer, model.materialized) for model in project.models.values()}
    tables = {("marts", "table"), ("marts", "incremental")}
    assert kinds == {("staging", "view"), ("views", "view")} | tables


def test_sources_declare_no_text_of_documents(project):
    names = {column.name for source in project.sources.values() for column in source.columns}
    assert names.isdisjoint({"text", "excerpt", "metadata"})


def test_tests_of_every_kind_are_there(project):
    kinds = {test.kind for model in project.models.values() for test in model.tests}
    assert kinds == {"unique", "not_null", "accepted_values", "relationships", "singular"}


def test_every_model_runs_and_passes_in_order(project, world):
    for model in project.ordered():
        result = world.run(project, model.name)
        assert result.table.column_names == [column.name for column in model.columns]
        assert [test for test in result.tests if not test.passed] == [], model.name
        # A sum of integers without a cast would come out as a 38-digit decimal.
        assert {str(field.type) for field in result.table.schema} <= PLAIN_TYPES, model.name
    assert "text" not in {column for _, columns in world.reads for column in columns}


def test_every_model_is_valid_and_empty_on_empty_sources(project, empty_world):
    for model in project.ordered():
        result = empty_world.run(project, model.name)
        assert result.passed, (model.name, result.tests)
        assert result.rows == 0, model.name


def test_schemas_do_not_depend_on_the_rows(project, world, empty_world):
    for name in (name for name in project.models if name in MARTS):
        assert world.run(project, name).table.schema == empty_world.run(project, name).table.schema


def test_documents_mart_counts_each_document_once_at_its_first_place(project, world):
    assert world.run(project, "mart_documents").table.to_pylist() == [
        row("law/a", "CC0", 2, 0, 30, 30 / 210),
        row("law/a", "unknown", 1, 0, 30, 30 / 210),
        row("web/b", "unknown", 3, 1, 150, 150 / 210),
    ]


def row(shard, licence, documents, near_duplicates, n_bytes, byte_share):
    return {
        "shard": shard,
        "licence": licence,
        "documents": documents,
        "near_duplicates": near_duplicates,
        "n_bytes": n_bytes,
        "document_share": documents / 6,
        "byte_share": byte_share,
    }


def test_scores_mart_describes_each_scorer_and_target(project, world):
    table = world.run(project, "mart_scores").table
    rows = {(r["scorer"], r["target"]): r for r in table.to_pylist()}
    assert len(rows) == 5 + 2 * 2 + 1
    density = rows["density", None]
    values = np.arange(1.0, 7.0)
    assert (density["documents"], density["missing"]) == (6, 0)
    assert density["mean"] == pytest.approx(values.mean())
    assert density["p05"] == pytest.approx(np.quantile(values, 0.05))
    assert density["p95"] == pytest.approx(np.quantile(values, 0.95))
    assert (density["minimum"], density["median"], density["maximum"]) == (1.0, 3.5, 6.0)
    assert (rows["judge_margin", None]["documents"], rows["judge_margin", None]["missing"]) == (2, 4)
    assert rows["transport_gradient", "law"]["maximum"] == -1.0
    assert rows["transport_gradient", "stats"]["maximum"] == 6.0
    assert rows["pool_potential", "law"]["minimum"] == -0.6


def test_scores_take_the_best_target_of_each_document(project, world):
    scores = world.run(project, "stg_scores").table
    assert set(scores["best_target"].to_pylist()) == {"law"}
    assert scores["transport_gradient"].to_pylist() == [-1.0, -2.0, -3.0, -4.0, -5.0, -6.0]


def test_selection_mix_compares_shares(project, world):
    rows = {
        (r["dimension"], r["label"]): r for r in world.run(project, "mart_selection_mix").table.to_pylist()
    }
    law, web = rows["shard", "law/a"], rows["shard", "web/b"]
    assert (law["pool_documents"], law["selected_documents"]) == (3, 2)
    assert law["lift"] == pytest.approx((2 / 3) / (3 / 6))
    assert (web["pool_bytes"], web["selected_bytes"]) == (150, 40)
    assert web["lift"] == pytest.approx((1 / 3) / (3 / 6))
    assert rows["licence", "CC0"]["lift"] == pytest.approx((2 / 3) / (2 / 6))
    assert rows["language", "en"]["pool_documents"] == rows["source", "text"]["pool_documents"] == 6


def test_a_selection_of_nothing_has_no_lift(project, world, to_arrow, rows):
    rejected = [{**decision, "verdict": "rejected"} for decision in rows["decisions"]]
    world.tables["decisions"] = to_arrow("decisions", rejected)
    result = world.run(project, "mart_selection_mix")
    assert result.passed
    assert set(result.table["lift"].to_pylist()) == {None}
    assert set(result.table["selected_documents"].to_pylist()) == {0}


def test_reasons_partition_the_pool(project, world):
    table = world.run(project, "mart_reasons").table.to_pylist()
    assert [(r["verdict"], r["reason"], r["documents"]) for r in table] == [
        ("rejected", "near_duplicate", 1),
        ("rejected", "over_the_cut", 2),
        ("selected", "under_the_cut", 3),
    ]
    assert sum(r["share"] for r in table) == pytest.approx(1)


def test_what_was_decided_about_documents_that_have_left_is_left_out(project, world, to_arrow, rows):
    before = {name: world.run(project, name).table for name in ("mart_reasons", "mart_selection_mix")}
    gone = {"selection": "core", "doc_id": "gone", "verdict": "selected", "reason": "x", "rank": 1}
    world.tables["decisions"] = to_arrow("decisions", [*rows["decisions"], gone])
    for name, table in before.items():
        result = world.run(project, name)
        assert result.passed
        assert result.table.equals(table)


def test_trials_are_ranked_within_kind_model_and_size_and_failed_runs_last(project, world):
    table = world.run(project, "mart_trials").table.to_pylist()
    found = [(r["trial"], r["place"], r["improvement"], r["behind_best"]) for r in table]
    assert found == [
        ("t4", 1, 0.25, 0.0),
        ("t2", 1, 0.75, 0.0),
        ("t1", 2, 0.5, 0.25),
        ("t3", None, None, None),
    ]


def test_trials_of_an_earlier_recipe_are_marked_and_ranked_by_themselves(project, world, to_arrow):
    world.tables["current_trials"] = to_arrow("current_trials", [{"trial": "t1"}, {"trial": "t4"}])
    result = world.run(project, "mart_trials")
    found = [(r["trial"], r["is_current"], r["place"], r["behind_best"]) for r in result.table.to_pylist()]
    assert result.passed
    assert found == [
        ("t4", True, 1, 0.0),
        ("t1", True, 1, 0.0),
        ("t2", False, 1, 0.0),
        ("t3", False, None, None),
    ]


def test_trials_that_were_measured_on_other_targets_are_ranked_by_themselves(project, world, to_arrow):
    targets = {"t1": "law", "t2": "stats", "t3": "law"}
    measured = [{"trial": trial, "target": target} for trial, target in targets.items()]
    world.tables["trial_targets"] = to_arrow("trial_targets", measured)
    result = world.run(project, "mart_trials")
    found = [(r["trial"], r["target"], r["place"], r["behind_best"]) for r in result.table.to_pylist()]
    assert result.passed
    assert found == [
        ("t4", "stats", 1, 0.0),  # of law trials the target is what they were trained on
        ("t1", "law", 1, 0.0),
        ("t3", "law", None, None),
        ("t2", "stats", 1, 0.0),
    ]


def test_the_licence_of_a_document_is_that_of_the_first_place_that_states_one(project, world, to_arrow, rows):
    more = [
        {"doc_id": "d3", "shard": "web/b", "row": row, "source": "text", "licence": licence}
        for row, licence in ((12, "later"), (11, "mit"), (10, None))
    ]
    world.tables["occurrences"] = to_arrow("occurrences", [*rows["occurrences"], *more])
    table = world.run(project, "stg_documents").table.to_pylist()
    found = {row["doc_id"]: (row["shard"], row["licence"]) for row in table}
    assert found["d3"] == ("law/a", "mit")
    assert found["d1"] == ("law/a", "CC0")
    assert found["d4"] == ("web/b", "unknown")


def test_corpus_mix_counts_each_document_once_at_its_first_source(project, world):
    rows = world.run(project, "mart_corpus_mix").table.to_pylist()
    found = [(r["source"], r["licence"], r["documents"], r["n_bytes"]) for r in rows]
    assert found == [("text", "CC0", 2, 30), ("text", "unknown", 4, 180)]
    assert sum(r["byte_share"] for r in rows) == pytest.approx(1)


def test_the_budget_frontier_accumulates_in_the_order_of_ranks(project, world, to_arrow, rows):
    decided = [
        {**row, "margin": 1.0 - row["rank"] / 3, "transport_gradient": float(row["rank"])}
        for row in rows["decisions"][:5]
    ]
    world.tables["decisions"] = to_arrow("decisions", [*decided, rows["decisions"][5]])
    found = world.run(project, "mart_budget_frontier").table.to_pylist()
    # d1, d2, d4, d3, d5 by rank, of 10, 20, 40, 30 and 50 bytes; quality is the number over six.
    assert [r["step"] for r in found] == [20, 40, 60, 80, 100]
    assert [r["documents"] for r in found] == [1, 2, 3, 4, 5]
    assert [r["selected_documents"] for r in found] == [1, 2, 3, 3, 3]
    assert [r["n_bytes"] for r in found] == [10, 30, 70, 100, 150]
    assert [r["is_within_budget"] for r in found] == [True, True, True, False, False]
    assert [r["mean_transport_gradient"] for r in found] == pytest.approx([1, 1.5, 2, 2.5, 3])
    assert [r["step_quality"] for r in found] == pytest.approx([n / 6 for n in (1, 2, 4, 3, 5)], abs=1e-9)
    assert [r["mean_quality"] for r in found][-1] == pytest.approx(15 / 30, abs=1e-9)
    assert [r["margin"] for r in found] == pytest.approx([1 - r / 3 for r in range(1, 6)])


def test_the_frontier_of_many_documents_has_a_hundred_steps(project, world, to_arrow):
    n = 1_037
    ids = [f"{i:05d}" for i in range(n)]
    world.tables["documents"] = to_arrow("documents", [{"doc_id": i, "n_bytes": 7} for i in ids])
    # Ranks with gaps, as a selection that repeats an earlier version has them.
    decided = [
        {"selection": "core", "doc_id": i, "verdict": "selected", "reason": "x", "rank": 3 * place + 1}
        for place, i in enumerate(ids)
    ]
    world.tables["decisions"] = to_arrow("decisions", decided)
    result = world.run(project, "mart_budget_frontier")
    documents = result.table["documents"].to_pylist()
    assert result.passed
    assert result.table["step"].to_pylist() == list(range(1, 101))
    last = 3 * (n - 1) + 1
    assert documents == [(step * last // 100 - 1) // 3 + 1 for step in range(1, 101)]
    assert result.table["n_bytes"].to_pylist()[-1] == 7 * n


def test_checkpoints_lead_to_shards_sources_and_licences(project, world):
    found = {r["checkpoint"]: r for r in world.run(project, "mart_checkpoints").table.to_pylist()}
    base, warm, law = found["llama"], found["t1"], found["t4"]
    assert (base["documents"], base["shards"], base["gone"], base["withdrawn"]) == (8, 2, 2, 1)
    assert (base["licences"], base["without_licence"], base["n_bytes"]) == ("CC0, unknown", 6, 210)
    assert (base["base_model"], warm["base_model"], warm["withdrawn"]) == (None, "llama", 1)
    assert (law["target_examples"], law["gone"], law["data"], law["sources"]) == (1, 0, "stats", 1)
    parts = world.run(project, "mart_checkpoint_provenance")
    rows = {(r["checkpoint"], r["label"]): (r["dimension"], r["documents"]) for r in parts.table.to_pylist()}
    assert parts.passed
    assert rows["llama", "law/a"] == ("shard", 3)
    assert rows["llama", "CC0"] == ("licence", 2)
    assert rows["llama", "unknown"] == ("licence", 6)
    assert rows["t4", "examples"] == ("source", 1)


def test_withdrawals_name_what_was_trained_on_them(project, world):
    (receipt,) = world.run(project, "mart_withdrawals").table.to_pylist()
    assert (receipt["receipt"], receipt["documents"], receipt["scope"]) == ("r1", 2, "documents")
    assert (receipt["still_stored"], receipt["still_selected"]) == (0, 0)
    assert receipt["fine_tuned_or_pretrained"] == "llama, t1"


def test_intake_counts_what_each_shard_brought_and_increments_equal_a_full_refresh(
    project, world, to_arrow, rows
):
    later = [row for row in rows["occurrences"] if row["shard"] == "web/b"]
    world.tables["occurrences"] = to_arrow("occurrences", [r for r in rows["occurrences"] if r not in later])
    waiting = {"shard": "web/b", "row": -1, "reason": "still_being_written"}
    world.tables["quarantine"] = to_arrow("quarantine", [*rows["quarantine"], waiting])
    first = world.run(project, "mart_intake", increment=True)
    assert first.increment is None
    assert [r["shard"] for r in first.table.to_pylist()] == ["law/a"]
    for name in ("occurrences", "quarantine"):
        world.tables[name] = to_arrow(name, rows[name])
    added = world.run(project, "mart_intake", increment=True)
    whole = run_model(project, "mart_intake", world.read)
    assert (added.increment, added.rows, whole.increment) == (1, 2, None)
    assert added.passed
    assert added.table.equals(whole.table)
    law, web = whole.table.to_pylist()
    assert (law["places"], law["documents"], law["without_licence"], law["quarantined"]) == (3, 3, 1, 1)
    assert (web["places"], web["sources"], web["licences"], web["quarantined"]) == (4, 2, 0, 0)


@pytest.mark.parametrize(
    ("source", "change", "model", "failing"),
    [
        ("documents", {"doc_id": "d1", "n_bytes": 1}, "stg_documents", "unique_stg_documents_doc_id"),
        ("near_duplicates", {"doc_id": "d6", "kept": "d4"}, "stg_documents", "unique_stg_documents_doc_id"),
        (
            "near_duplicates",
            {"doc_id": "d1", "kept": "gone"},
            "stg_documents",
            "relationships_stg_documents_duplicate_of",
        ),
        (
            "occurrences",
            {"doc_id": "gone", "shard": "s", "row": 0},
            "stg_occurrences",
            "relationships_stg_occurrences_doc_id",
        ),
        (
            "decisions",
            {"selection": "core", "doc_id": "d1", "verdict": "maybe", "reason": "x"},
            "stg_decisions",
            "accepted_values_stg_decisions_verdict",
        ),
        (
            "decisions",
            {"selection": "core", "doc_id": "d6", "verdict": "rejected", "reason": "x"},
            "stg_decisions",
            "assert_one_decision_a_document",
        ),
        (
            "decisions",
            {"selection": "other", "doc_id": "d1", "verdict": "selected", "reason": "x"},
            "stg_decisions",
            "not_null_stg_decisions_rank_of_selected",
        ),
        (
            "transport_scores",
            {"target": "law", "doc_id": "d1", "transport_gradient": 0.0},
            "stg_transport_scores",
            "assert_one_transport_score_a_target",
        ),
        ("density_scores", {"doc_id": "d1", "density": 2.0}, "stg_scores", "unique_stg_scores_doc_id"),
        ("trials", {"trial": "t1", "kind": "law", "size": 1}, "mart_trials", "unique_mart_trials_trial"),
        (
            "trials",
            {"trial": "t9", "kind": "other", "size": 1},
            "mart_trials",
            "accepted_values_mart_trials_kind",
        ),
        (
            "decisions",
            {"selection": "core", "doc_id": "w1", "verdict": "selected", "reason": "x", "rank": 9},
            "mart_withdrawals",
            "assert_withdrawn_documents_are_gone",
        ),
        (
            "withdrawals",
            {"doc_id": "d1", "withdrawn_at": 0, "reason": "x", "scope": "documents", "receipt": "r2"},
            "mart_withdrawals",
            "assert_withdrawn_documents_are_gone",
        ),
    ],
)
def test_broken_data_are_not_published(project, world, to_arrow, rows, source, change, model, failing):
    world.tables[source] = to_arrow(source, rows[source] + [change])
    result = run_model(project, model, world.read)
    assert failing in {test.name for test in result.tests if not test.passed}
    assert not result.passed


def test_a_score_that_is_not_finite_is_caught(project, world, to_arrow, rows):
    for value, shown in ((float("nan"), "nan"), (float("inf"), "inf")):
        broken = [*rows["density_scores"][1:], {"doc_id": "d1", "density": value}]
        world.tables["density_scores"] = to_arrow("density_scores", broken)
        result = run_model(project, "stg_scores", world.read)
        (test,) = [test for test in result.tests if not test.passed]
        assert (test.name, test.failures) == ("assert_scores_are_finite", 1)
        assert (test.sample[0]["doc_id"], test.sample[0]["density"]) == ("d1", shown)


def test_warnings_do_not_stop_publication(project, world, to_arrow, rows):
    world.tables["documents"] = to_arrow(
        "documents", rows["documents"] + [{"doc_id": "new", "n_bytes": 5, "first_seen": 0}]
    )
    homes = world.run(project, "stg_documents")
    reasons = world.run(project, "mart_reasons")
    assert homes.passed
    assert json.loads(json.dumps([test.sample for test in homes.tests]))  # times become text
    assert reasons.passed
    assert [test.name for test in homes.tests if not test.passed] == ["not_null_stg_documents_shard"]
    (late,) = [test for test in reasons.tests if not test.passed]
    assert (late.name, late.sample[0]["decided"], late.sample[0]["pool"]) == (
        "assert_reasons_partition_the_pool",
        6,
        7,
    )
    assert world.run(project, "mart_documents").table["shard"].to_pylist()[0] == "(none)"


@settings(deadline=None, max_examples=15)
@given(
    places=st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from("abc"), st.sampled_from(["mit", None])), max_size=25
    )
)
def test_documents_mart_agrees_with_polars(project, places):
    occurrences = pl.DataFrame(
        [(f"d{d}", shard, i, "text", licence) for i, (d, shard, licence) in enumerate(places)],
        schema={"doc_id": str, "shard": str, "row": pl.UInt32, "source": str, "licence": str},
        orient="row",
    )
    ids = occurrences["doc_id"].unique().sort()
    documents = pl.DataFrame({"doc_id": ids, "n_bytes": pl.Series(range(1, len(ids) + 1), dtype=pl.UInt32)})
    tables = {
        "occurrences": occurrences.to_arrow(),
        "documents": documents.to_arrow(),
        "near_duplicates": pa.table({"doc_id": pa.array([], pa.string()), "kept": pa.array([], pa.string())}),
    }
    result = run_model(project, "mart_documents", lambda name, columns: tables[name])
    expected = (
        occurrences.sort("shard", "row")
        .group_by("doc_id", maintain_order=True)
        .agg(pl.col("shard").first(), pl.col("licence").drop_nulls().first().fill_null("unknown"))
        .join(documents, on="doc_id")
        .group_by("shard", "licence")
        .agg(pl.len().cast(pl.Int64).alias("documents"), pl.col("n_bytes").sum().cast(pl.Int64))
        .sort("shard", "licence")
    )
    assert result.passed
    found = pl.from_arrow(result.table).select(expected.columns)
    assert found.rows() == expected.rows()


def test_marts_do_not_depend_on_row_order_or_threads(project):
    """Over twelve decades a plain sum changes its last bits with the order of the rows."""
    generator = np.random.default_rng(0)
    n = 20_000
    ids = pa.array([f"{i:06d}" for i in range(n)])
    values = generator.standard_normal((5, n)) * 10.0 ** generator.integers(-6, 6, (5, n))  # [5, n]
    bare = pa.table({"doc_id": pa.array([], pa.string())})
    tables = {
        "documents": pa.table({"doc_id": ids, "n_bytes": pa.array(np.arange(n), pa.uint32())}),
        "occurrences": pa.table(
            {"doc_id": ids, "shard": pc.utf8_slice_codeunits(ids, 3, 4), "row": pa.array(np.arange(n))}
        ),
        "near_duplicates": bare,
        "density_scores": pa.table({"doc_id": ids, "density": values[0]}),
        "quality_scores": pa.table(
            {"doc_id": ids, "judge_margin_predicted": values[1], "quality": values[2]}
        ),
        "perplexity_scores": pa.table({"doc_id": ids, "bits_per_byte": values[3].astype(np.float32)}),
        "judge_scores": bare.append_column("margin", pa.array([], pa.float64())),
        "column_scores": pa.table({"score": pa.array(["edu"] * n), "doc_id": ids, "value": values[3]}),
        "transport_scores": pa.table(
            {
                "target": pa.array(["law"] * n),
                "doc_id": ids,
                "transport_gradient": values[4],
                "nearest_cost": values[4],
            }
        ),
        "pool_potential_scores": pa.table(
            {"target": pa.array(["law"] * n), "doc_id": ids, "pool_potential": values[4]}
        ),
    }
    shuffled = {name: table.take(generator.permutation(table.num_rows)) for name, table in tables.items()}
    one = run_model(project, "mart_scores", lambda name, columns: tables[name], threads=1)
    four = run_model(project, "mart_scores", lambda name, columns: shuffled[name], threads=4)
    assert one.table.equals(four.table)
