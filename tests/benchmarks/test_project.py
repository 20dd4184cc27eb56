"""What a kept folder of a benchmark holds is used again only for the same study."""

import argparse

import pytest

from benchmarks._flags import at_least
from benchmarks._project import made_once


def test_a_file_is_made_once_and_never_taken_for_that_of_another_study(tmp_path):
    path, made = tmp_path / "folder" / "rows.txt", []

    def make(place):
        made.append(place.write_text("rows"))

    for _ in range(2):
        made_once(path, {"rows": 3}, make)
    assert (path.read_text(), len(made)) == ("rows", 1)
    with pytest.raises(SystemExit, match=r'made of \{"rows": 3\}, not of \{"rows": 4\}'):
        made_once(path, {"rows": 4}, make)


def test_a_file_that_was_cut_off_is_made_again(tmp_path):
    path = tmp_path / "rows.txt"

    def cut_off(place):
        place.write_text("ro")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made_once(path, {}, cut_off)
    made_once(path, {}, lambda place: place.write_text("rows"))
    assert path.read_text() == "rows"


def test_a_number_too_small_is_refused_before_anything_is_built(capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=at_least(1))
    assert parser.parse_args(["--seeds", "2"]).seeds == 2
    with pytest.raises(SystemExit):
        parser.parse_args(["--seeds", "0"])
    assert "0 is too few; at least 1" in capsys.readouterr().err
