"""Data tests: each kind passes on good data, fails on bad, and decides whether a result is published."""

import pyarrow as pa
import pytest

from tamis.sql import load_project, run_model

YML = """
models:
  - name: m
    columns:
      - name: id
        data_tests:
          - unique
          - not_null
      - name: colour
        data_tests:
          - accepted_values: {arguments: {values: ["red", "it's"]}}
          - relationships:
              arguments: {to: "source('raw', 'palette')", field: name}
              config: {severity: warn}
      - name: weight
        data_tests:
          - accepted_values: {arguments: {values: [1, 2], quote: false}}
          - not_null:
              name: red_has_weight
              config: {where: "colour = 'red'"}
"""
SOURCES = """
sources:
  - name: raw
    tables:
      - name: items
        columns: [{name: id}, {name: colour}, {name: weight}]
      - name: palette
        columns: [{name: name}]
"""
FILES = {
    "staging/sources.yml": SOURCES,
    "marts/m.sql": "select id, colour, weight from {{ source('raw', 'items') }} order by id",
    "marts/m.yml": YML,
    "tests/light.sql": "select * from {{ ref('m') }} where weight > 2; -- nothing heavy",
}
GOOD = [("a", "red", 1), ("b", "it's", 2), ("c", None, None)]


@pytest.fixture
def audit(write_project):
    project = load_project(write_project(FILES))

    def run(rows, palette=("red", "it's")):
        ids, colours, weights = zip(*rows, strict=True) if rows else ((), (), ())
        strings = pa.string()
        items = pa.table(
            {
                "id": pa.array(ids, strings),
                "colour": pa.array(colours, strings),
                "weight": pa.array(weights, pa.int64()),
            }
        )
        tables = {"items": items, "palette": pa.table({"name": pa.array(palette, strings)})}
        result = run_model(project, "m", lambda name, columns: tables[name])
        return result, {test.name: test for test in result.tests}

    return run


@pytest.mark.parametrize("rows", [GOOD, []])
def test_good_and_empty_data_pass_every_test(audit, rows):
    result, tests = audit(rows)
    assert result.passed
    assert set(tests) == {
        "unique_m_id",
        "not_null_m_id",
        "accepted_values_m_colour",
        "relationships_m_colour",
        "accepted_values_m_weight",
        "red_has_weight",
        "light",
    }
    assert {test.kind for test in tests.values()} >= {"singular", "relationships"}
    assert all(test.passed and test.failures == 0 and test.sample == () for test in tests.values())


@pytest.mark.parametrize(
    ("bad", "failing", "failures", "sample"),
    [
        ([("a", "red", 1), ("a", "red", 1)], {"unique_m_id"}, 1, {"id": "a", "occurrences": 3}),
        ([(None, "red", 1)], {"not_null_m_id"}, 1, {"id": None, "colour": "red", "weight": 1}),
        ([("x", "red", None)], {"red_has_weight"}, 1, {"id": "x", "colour": "red", "weight": None}),
        ([("x", "red", 7)], {"accepted_values_m_weight", "light"}, 1, None),
    ],
)
def test_bad_data_stop_publication(audit, bad, failing, failures, sample):
    result, tests = audit(GOOD + bad)
    assert {name for name, test in tests.items() if not test.passed} == failing
    assert not result.passed
    test = tests[min(failing)]
    assert test.failures == failures
    assert test.severity == "error"
    if sample:
        assert test.sample == (sample,)


def test_a_warning_reports_but_does_not_stop_publication(audit):
    result, tests = audit(GOOD, palette=("red",))
    assert result.passed
    assert not tests["relationships_m_colour"].passed
    assert tests["relationships_m_colour"].severity == "warn"
    assert tests["relationships_m_colour"].sample == ({"colour": "it's"},)


def test_the_sample_is_short_and_the_count_is_whole(audit):
    _, tests = audit([(f"x{i}", "green", 1) for i in range(20)])
    assert tests["accepted_values_m_colour"].failures == 1
    assert tests["accepted_values_m_colour"].sample == ({"colour": "green", "occurrences": 20},)
    _, tests = audit([(None, "red", 1)] * 20)
    assert (tests["not_null_m_id"].failures, len(tests["not_null_m_id"].sample)) == (20, 5)


def test_tests_see_the_rows_that_would_be_published(write_project):
    """A volatile column: a second evaluation would differ from the stored rows."""
    files = {
        **FILES,
        "marts/m.yml": "",
        "marts/m.sql": "select id, random() as colour from {{ source('raw', 'items') }} order by id",
        "tests/light.sql": "select * from {{ ref('m') }}",
    }
    project = load_project(write_project(files))
    items = pa.table({"id": ["a", "b"]})
    result = run_model(project, "m", lambda name, columns: items)
    assert list(result.tests[0].sample) == result.table.to_pylist()
