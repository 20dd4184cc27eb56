"""What `tamis diff` says of a document: words for what is not there."""

import pytest

from tamis.history.differences import _document_line, _shown

USUAL = {"change": "in", "doc_id": "d1", "cause": "new_document", "detail": None, "duplicate_of": None}


@pytest.mark.parametrize(
    ("ranks", "margins", "said"),
    [
        ((5, 2), (-0.5, 0.25), "; rank 5 to 2; margin -0.5 to 0.25"),
        ((None, 2), (None, 0.4477), "; was not ranked, now rank 2; margin 0.4477"),
        ((1_200, None), (0.5, None), "; was rank 1,200, now not ranked; margin 0.5"),
        ((None, None), (None, None), "; was not ranked"),
    ],
)
def test_a_rank_that_is_not_there_is_said_in_words(ranks, margins, said):
    names = ("rank_before", "rank_after"), ("margin_before", "margin_after")
    sides = dict(zip(names[0], ranks, strict=True)) | dict(zip(names[1], margins, strict=True))
    line = _document_line(USUAL | sides)
    assert line == f"  + d1  new{said}"
    assert "none" not in line.lower()


def test_a_setting_that_is_not_there_is_not_set():
    assert [_shown(value) for value in (None, 5, "x")] == ["not set", "5", "x"]
