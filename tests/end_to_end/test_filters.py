"""Filters through the real graph: each gives its reason with the rule, and without them all is as before."""

import json

import pytest
from projects import LANDING, corpus, make_project, sentences, small_settings, write_jsonl

from tamis.settings.values import RULE_NAMES

GERMAN = (
    "Der Fluss stieg in der Nacht und niemand im Dorf hatte erwartet dass er die Brücke erreichen würde. "
)
FILTERS = """
[filters]
heuristics = ["gopher", "noise", "boilerplate"]
heuristics_off = OFF
languages = ["en"]
personal_data = "exclude"
licences_denied = ["proprietary*"]
sources_denied = ["*.example/*"]
"""
OFF = [name for name in RULE_NAMES if name != "gopher_hash_ratio"]  # the generated texts break some
# What each planted row is: (text, other columns, reason, rule)
PLANTED = [
    (GERMAN * 2, {}, "language", "language_detected_de"),
    (sentences("algebra", 1, 31)[0], {"language": "fr-FR"}, "language", "language_stated_fr"),
    (
        sentences("algebra", 1, 32)[0] + " jane@doe.io",
        {"language": "en"},
        "personal_data",
        "personal_data_email",
    ),
    (sentences("algebra", 1, 33)[0], {"licence": "Proprietary, Inc."}, "licence", "licence_denied"),
    (sentences("algebra", 1, 35)[0], {"source": "https://bad.example/1"}, "source", "source_denied"),
    (sentences("algebra", 1, 34)[0] + " #" * 20, {"language": "en"}, "heuristic", "gopher_hash_ratio"),
]


@pytest.fixture(scope="module")
def built(tmp_path_factory, encoder_cache):
    """A small project with planted rows, materialized first without filters and then with them."""
    root = tmp_path_factory.mktemp("filters") / "project"
    plain = small_settings(corpus=LANDING + 'language = "en"\n', settle_seconds=1.0)
    project = make_project(root, encoder_cache, plain)
    lines = [json.dumps({"text": text, **columns}) for text, columns, _reason, _rule in PLANTED]
    (root / "landing" / "planted.jsonl").write_text("\n".join(lines[1:]) + "\n")
    write_jsonl(root / "strange" / "german.jsonl", [PLANTED[0][0]])
    settings = plain + corpus("strange", "strange")
    project.configure(settings)
    project.tamis("materialize")
    return project, settings, digests(project)


def filters(off: list[str]) -> str:
    return FILTERS.replace("OFF", json.dumps(off))


def digests(project) -> dict[str, str]:
    heads = project.store.read("heads", where="asset = 'selected_subset'")
    return dict(heads.select("partition", "data_version").iter_rows())


def test_filters_give_their_reasons_and_without_them_all_is_as_before(built):
    project, plain, before = built
    assert not project.store.exists("document_flags")  # nothing asked for, nothing looked at
    project.configure(plain + filters(OFF))
    project.tamis("materialize")
    decisions = project.store.read("decisions", where="selection = 'near-algebra'")
    texts = dict(project.store.read("documents", ["text", "doc_id"]).iter_rows())
    found = {row["doc_id"]: row for row in decisions.iter_rows(named=True)}
    for text, _columns, reason, rule in PLANTED:
        row = found[texts[text.strip()]]
        assert (row["verdict"], row["reason"], row["detail"]) == ("rejected", reason, rule)
    others = decisions.filter(~decisions["doc_id"].is_in([texts[p[0].strip()] for p in PLANTED]))
    assert set(others["reason"]) <= {"within_budget", "over_budget", "near_duplicate", "contaminated"}
    assert others["detail"].null_count() == len(others)
    assert project.json("audit")["status"] == "green"
    reasons = project.store.read("mart_reasons", ["reason", "detail"]).unique()
    assert ("heuristic", "gopher_hash_ratio") in reasons.rows()
    email = texts[PLANTED[2][0]]
    said = project.tamis("explain", email).stdout
    assert "personal data (personal_data_email: email_count = 1; allowed: at most 0 in total)" in said
    explained = {}
    for text, _columns, reason, rule in PLANTED:
        found = project.json("explain", texts[text.strip()])
        assert set(found) == {"doc_id", "occurrences", "scores", "decisions", "serves", "checkpoints"}
        (row,) = [one for one in found["decisions"] if one["selection"] == "near-algebra"]
        assert (row["reason"], row["detail"]) == (reason, rule)
        explained[rule] = row["evidence"]
    assert explained["licence_denied"] == {
        "measured": {"licences": ["Proprietary, Inc."]},
        "allowed": "none of proprietary*",
    }
    german, french = explained["language_detected_de"], explained["language_stated_fr"]
    assert german["measured"]["detected_language"] == "de"
    assert german["measured"]["language_confidence"] > 0.5
    assert german["allowed"] == "one of en, or a confidence below 0.5"
    assert (french["measured"]["stated_language"], french["allowed"]) == ("fr", "one of en")
    hashes = explained["gopher_hash_ratio"]
    assert (hashes["measured"]["hash_ratio"] > 0.1, hashes["allowed"]) == (True, "at most 0.1")
    (full_of_hashes,) = [text for text, _columns, _reason, rule in PLANTED if rule == "gopher_hash_ratio"]
    assert "hash_ratio = 0.3" in project.tamis("explain", texts[full_of_hashes.strip()]).stdout

    flags = project.store.version("document_flags")
    project.configure(plain + filters([*OFF, "gopher_hash_ratio"]))
    project.tamis("materialize")
    kept = project.store.read("decisions", where=f"doc_id = '{texts[PLANTED[-1][0]]}'")
    assert "heuristic" not in set(kept["reason"])
    assert project.store.version("document_flags") == flags  # limits change, measures do not

    project.configure(plain)
    project.tamis("materialize")
    assert digests(project) == before
    assert "everything is current" in project.tamis("materialize").stderr
