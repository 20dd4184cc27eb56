"""Precision: chosen by measurement, once a project, and kept wherever its home goes."""

import pytest
from projects import plain_project, settings

from tamis.base import precision
from tamis.base.errors import UnknownNameError
from tamis.base.precision import BFLOAT16, FLOAT32, PRECISIONS, Speeds, computing_in, precision_in_force
from tamis.embedding import encoder_identity, load_encoder
from tamis.project import chosen_precision, open_project
from tamis.store import precision_choice
from tamis.verbs.status import read_status


def speeds(float32_ms: float, bfloat16_ms: float | None) -> Speeds:
    return Speeds(device="cpu", float32_ms=float32_ms, bfloat16_ms=bfloat16_ms)


@pytest.fixture
def project(tmp_path, nowhere):
    """A project without settings about precision, and what its first run would measure."""
    return plain_project(tmp_path, settings(precision="auto")).project


@pytest.fixture
def measuring(monkeypatch):
    """Make measurements give this; returns how many there were."""
    calls: list[Speeds] = []

    def of(found: Speeds) -> list[Speeds]:
        monkeypatch.setattr(precision_choice, "measure_precisions", lambda: calls.append(found) or found)
        return calls

    return of


@pytest.mark.parametrize(
    ("float32_ms", "bfloat16_ms", "expected"),
    [(2.0, 1.0, BFLOAT16), (1.0, 1.4, FLOAT32), (1.05, 1.0, FLOAT32), (1.0, None, FLOAT32)],
)
def test_bfloat16_has_to_be_clearly_faster(float32_ms, bfloat16_ms, expected):
    assert speeds(float32_ms, bfloat16_ms).faster == expected


def test_a_measurement_times_what_the_machine_has(monkeypatch):
    found = precision.measure_precisions("cpu")
    assert found.float32_ms > 0
    assert (found.bfloat16_ms is not None) == precision.has_bfloat16("cpu")
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: True)
    assert (precision.measure_precisions("cpu").bfloat16_ms or 0) > 0
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: False)
    assert precision.measure_precisions("cpu").bfloat16_ms is None


def test_the_innermost_precision_is_in_force_and_an_unknown_one_is_an_error():
    with computing_in(BFLOAT16):
        assert precision_in_force() == BFLOAT16
        with computing_in(FLOAT32):
            assert precision_in_force() == FLOAT32
        assert precision_in_force() == BFLOAT16
    with pytest.raises(UnknownNameError, match="bfloat16, float32"), computing_in("float16"):
        pass


def test_a_step_that_is_given_up_late_leaves_the_next_ones_precision_in_force():
    given_up, after = computing_in(BFLOAT16), computing_in(FLOAT32)
    given_up.__enter__()
    after.__enter__()
    given_up.__exit__(None, None, None)
    assert precision_in_force() == FLOAT32
    after.__exit__(None, None, None)


def test_a_project_measures_once_and_its_home_keeps_the_choice(project, measuring):
    calls, said = measuring(speeds(2.0, 1.0)), []
    assert project.precision is None
    assert chosen_precision(project, said.append) == BFLOAT16
    assert "2 ms in float32 and 1 ms in bfloat16" in said[0]
    measuring(speeds(1.0, 2.0))  # another machine
    assert chosen_precision(open_project(project.root), said.append) == BFLOAT16
    assert (len(calls), len(said)) == (1, 1)


def test_it_is_measured_again_on_request_alone(project, measuring):
    measuring(speeds(2.0, 1.0))
    chosen_precision(project, print)
    calls = measuring(speeds(1.0, 2.0))
    assert chosen_precision(project, print, again=True) == FLOAT32
    assert (project.precision, len(calls)) == (FLOAT32, 2)
    assert project.home.store.count("precision") == 1


@pytest.mark.parametrize("again", [False, True])
def test_what_tamis_toml_says_holds_and_nothing_is_measured(project, measuring, again):
    calls = measuring(speeds(2.0, 1.0))
    chosen_precision(project, print)
    project.file.write_text(settings(precision="float32"))
    stated, said = open_project(project.root), []
    assert (stated.precision, chosen_precision(stated, said.append, again)) == (FLOAT32, FLOAT32)
    assert (len(calls), len(said)) == (1, int(again))


def test_a_damaged_choice_is_measured_again(project, measuring):
    measuring(speeds(2.0, 1.0))
    chosen_precision(project, print)
    for file in (project.home.root / "lance" / "precision.lance" / "data").iterdir():
        file.write_bytes(b"")
    assert project.precision is None


def test_status_says_what_is_computed_in_and_why(project, measuring):
    assert "the first run measures which is faster on this machine" in "\n".join(read_status(project).lines())
    measuring(speeds(2.0, 1.0))
    chosen_precision(project, print)
    status = read_status(project)
    assert status.to_json()["precision"]["name"] == BFLOAT16
    assert "run in bfloat16, chosen 20" in "\n".join(status.lines())
    project.file.write_text(settings(precision="float32"))
    stated = read_status(open_project(project.root))
    assert "run in float32, set by tamis.toml" in "\n".join(stated.lines())
    assert stated.to_json()["precision"] == {"name": FLOAT32, "by": "tamis.toml"}


def test_vectors_of_another_precision_have_another_fingerprint(tiny_folder, tmp_path):
    name = str(tiny_folder)
    found = {one: load_encoder(name, cache=tmp_path, device="cpu", precision=one) for one in PRECISIONS}
    assert {one: encoder.fingerprint for one, encoder in found.items()} == {
        one: encoder_identity(name, one) for one in PRECISIONS
    }
    assert found[FLOAT32].fingerprint != found[BFLOAT16].fingerprint
    texts = ["abc def", "ghi"]
    assert (found[FLOAT32].encode(texts) != found[BFLOAT16].encode(texts)).any()
    assert encoder_identity("static", FLOAT32) == encoder_identity("static", BFLOAT16)
