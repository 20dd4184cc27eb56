"""What is shown in place of pages that are not made: what goes on, at an address that loads itself again."""

import json
import re
from functools import partial

import pyarrow as pa
import pytest
from test_report_server import ask, free_port

from tamis.report.address import SECONDS, missing_page
from tamis.report.server import HEADERS, served_pages
from tamis.store.home import Home, writing
from tamis.store.schemas import schema_of
from tamis.store.served import NOTE, activity, note_said, note_served, said_by, served, what_next


@pytest.fixture
def home(tmp_path) -> Home:
    return Home(tmp_path / "home")


def text_of(page: bytes | str) -> str:
    """Return what a page shows, in one line."""
    content = page.decode() if isinstance(page, bytes) else page
    shown = re.sub("<style>.*?</style>|<title>.*?</title>|<[^>]*>", " ", content, flags=re.DOTALL)
    return " ".join(shown.split()).replace(" .", ".")


def test_before_anything_is_made_the_page_of_all_pages_says_so_and_loads_itself_again(home):
    with served_pages(home, free_port(), missing=partial(missing_page, home)) as address:
        status, headers, body = ask(address, f"/{address.key}/")
        assert status == 200
        assert headers["Content-Type"] == "text/html; charset=utf-8"
        assert headers.items() >= HEADERS.items()
        assert f'<meta http-equiv="refresh" content="{SECONDS}">' in body
        for part in ("Nothing has been made yet", "Dagster is starting", "tamis materialize", "tamis status"):
            assert part in text_of(body)
        assert "<style>" in body
        assert "All pages" not in body, "it is the page of all pages"
        home.reports.mkdir(parents=True)
        (home.reports / "index.html").write_text("<p>all pages</p>")
        assert ask(address, f"/{address.key}/")[2] == "<p>all pages</p>"


@pytest.mark.parametrize(
    ("name", "styled"),
    [("selection_a.html", True), ("index.html", True), ("a.png", False), ("..html", False)],
)
def test_a_page_that_does_not_exist_is_not_found_and_says_what_goes_on(home, name, styled):
    with served_pages(home, free_port(), missing=partial(missing_page, home)) as address:
        status, _headers, body = ask(address, f"/{address.key}/{name}")
        head = ask(address, f"/{address.key}/{name}", "HEAD")
        other = ask(address, "/00000000/selection_a.html")[2]
    assert status == (200 if name == "index.html" else 404)
    assert head[::2] == (status, "")
    assert ("What goes on now" in body) == styled
    assert "<style>" in body
    assert "<style>" in other


def test_a_home_that_cannot_be_read_gives_the_plain_answer(home):
    def fail(name):
        raise RuntimeError("being moved")

    with served_pages(home, free_port(), missing=fail) as address:
        assert ask(address, f"/{address.key}/")[0] == 404


def test_the_page_says_what_the_sensors_do_who_writes_what_was_read_and_where_the_ui_is(home):
    note_served(home, "127.0.0.1", 3907)
    assert "for the first time within a minute" in text_of(missing_page(home, "index.html"))
    note_said(home, "arrivals", "no changes", asked=False, working=False)
    note_said(home, "reselection", "requested: documents, embeddings", asked=True, working=True)
    shown = text_of(missing_page(home, "index.html"))
    assert "Sensors: requested: documents, embeddings." in shown
    assert "first time" not in shown
    busy = "a run is in progress; the sensor continues when it ends"
    note_said(home, "reselection", busy, asked=False, working=True)
    with writing(home, "documents, run 0123abcd"):
        page = missing_page(home, "index.html")
    assert "progress for under 1 s, requested: documents, embeddings." in text_of(page)
    assert 'href="http&#58;//127.0.0.1:3907/assets/selected_subset"' in page.decode()
    row = {"doc_id": "0" * 32, "text": "one", "n_chars": 3, "n_bytes": 3}
    home.store.append("documents", pa.Table.from_pylist([row], schema=schema_of("documents")))
    assert "1 document read so far." in text_of(missing_page(home, "index.html"))


def test_names_in_what_a_sensor_says_are_no_markup(home):
    note_served(home, "127.0.0.1", 3907)
    note_said(home, "arrivals", "held: <script>`x`</script>", asked=False, working=False)
    page = missing_page(home, "index.html").decode()
    assert "<script>" not in page
    assert "&lt;script&gt;<code>x</code>" in page


def test_what_was_said_before_this_ui_began_is_not_said_of_it(home):
    note_served(home, "127.0.0.1", 3907)
    note = home.dagster / NOTE
    values = json.loads(note.read_text())
    host, number, began = values["process"].rsplit(":", 2)
    note_said(home, "reselection", "requested: documents", asked=True, working=True)
    earlier = home.cache / "sensors" / "reselection.json"
    earlier.write_text(json.dumps(vars(said_by(home, "reselection")) | {"at": float(began) - 60}))
    found = activity(home)
    assert found is not None
    assert "requested" not in found.sentence
    assert found.working
    note_said(home, "reselection", "requested: documents", asked=True, working=True)
    assert "requested: documents" in activity(home).sentence, "said again by this one"
    values["process"] = f"{host}:{number}:{float(began) - 1000:.0f}"
    note.write_text(json.dumps(values))
    assert activity(home) is None, "the process that noted it has ended"
    for damaged in ("", "[]", '{"host": "x"}', '{"host": "x", "port": 1, "process": "y"}'):
        note.write_text(damaged)
        assert served(home) is None


def test_the_next_thing_to_do_is_what_is_at_work_or_the_command(home):
    assert what_next(home) == ", `tamis materialize` brings them up to date"
    note_served(home, "127.0.0.1", 3907)
    for sensor, text in (("arrivals", "no changes"), ("reselection", "every selection is current")):
        note_said(home, sensor, text, asked=False, working=False)
    assert "`tamis materialize` does it now" in what_next(home)
    note_said(home, "reselection", "requested: documents", asked=True, working=True)
    said = what_next(home)
    assert "tamis materialize" not in said
    assert re.search(r"the sensors of `tamis ui` \(process \d+\) are at work on them: requested: docu", said)
