"""Map, documents and mix in Firefox, from a file: they are drawn, answer keys and mouse, and log no error."""

import contextlib
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from made_pools import made_pool, pool_texts
from test_report_seen import HOSTILE, pages
from test_report_server import free_port
from websockets.sync.client import ClientConnection, connect

from tamis.store.home import Home

pytestmark = pytest.mark.slow
FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")
RIGHT, DOWN, ESCAPE = "\ue014", "\ue015", "\ue00c"
DRAWN_MILLISECONDS = 1_000


class Firefox:
    """A Firefox without a window, driven over WebDriver BiDi."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection, self._numbers = connection, count(1)
        self.said: list[str] = []
        self.call("session.new", capabilities={})
        self.call("session.subscribe", events=["log.entryAdded", "browsingContext.userPromptOpened"])
        self._context = self.call("browsingContext.getTree")["contexts"][0]["context"]
        self.call(
            "browsingContext.setViewport", context=self._context, viewport={"width": 1280, "height": 1000}
        )

    def call(self, method: str, **arguments: Any) -> Any:
        """Return the result of a command; what the page logs before it comes is kept in `said`."""
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": arguments}))
        while True:
            answer = json.loads(self._connection.recv(timeout=60))
            if answer.get("id") == number:
                assert answer["type"] == "success", answer
                return answer["result"]
            self.said.append(json.dumps(answer))

    def open(self, address: str) -> None:
        self.call("browsingContext.navigate", context=self._context, url=address, wait="complete")

    def value(self, expression: str) -> Any:
        """Return what an expression gives in the page."""
        target = {"context": self._context}
        asked = {"expression": expression, "target": target, "awaitPromise": True}
        found = self.call("script.evaluate", **asked)
        assert found["type"] == "success", found
        return found["result"].get("value")

    def press(self, *keys: str) -> None:
        """Press keys one after another, in the element that has the focus."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._act({"type": "key", "id": "keyboard", "actions": actions})

    def drag(self, *places: tuple[int, int]) -> None:
        """Draw with the button of the mouse held down, from the first place to the last."""
        moves = [{"type": "pointerMove", "x": x, "y": y} for x, y in places]
        down, up = ({"type": f"pointer{name}", "button": 0} for name in ("Down", "Up"))
        self._act({"type": "pointer", "id": "mouse", "actions": [moves[0], down, *moves[1:], up]})

    def _act(self, source: dict[str, Any]) -> None:
        self.call("input.performActions", context=self._context, actions=[source])


@pytest.fixture(scope="module")
def firefox(tmp_path_factory) -> Iterator[Firefox]:
    if FIREFOX is None:
        pytest.skip("no Firefox on this machine; on Debian: apt-get install firefox-esr")
    port, profile = free_port(), tmp_path_factory.mktemp("profile")
    command = [FIREFOX, "--headless", "--no-remote", "--profile", str(profile)]
    process = subprocess.Popen(
        [*command, "--remote-debugging-port", str(port), "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port)
        with connect(f"ws://127.0.0.1:{port}/session", max_size=None, proxy=None) as connection:
            yield Firefox(connection)
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int) -> None:
    for _ in range(120):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.5)
    raise AssertionError("Firefox did not answer within a minute")


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Home:
    home = Home(tmp_path_factory.mktemp("pages") / "home")
    home.reports.mkdir(parents=True)
    _seen, made = pages(home.store, made_pool(home.store, [HOSTILE, *pool_texts(40)], source="a'b\"<i>"))
    for name, content in made.items():
        (home.reports / f"{name}_best.html").write_text(content)
    return home


@pytest.fixture
def opened(firefox, home):
    """Open a page of the home; anything that is logged, refused or run by a text fails the test."""
    firefox.said.clear()

    def open_page(name: str) -> Firefox:
        firefox.open(f"{home.reports.as_uri()}/{name}_best.html")
        return firefox

    yield open_page
    assert firefox.said == []
    assert firefox.value("document.title") != "run"


def numbers(page: Firefox, selector: str) -> int:
    return int(page.value(f"document.querySelector('{selector}').textContent.match(/\\d+/)[0]"))


def test_the_map_is_drawn_within_a_second_and_read_by_keyboard_and_mouse(opened):
    drawn: list[int] = []
    while not drawn or (min(drawn) >= DRAWN_MILLISECONDS and len(drawn) < 5):  # other tests take the cores
        page = opened("map")
        for _ in range(100):
            if ready := page.value("document.body.dataset.ready"):
                break
            time.sleep(0.05)
        drawn.append(int(ready))
    assert min(drawn) < DRAWN_MILLISECONDS
    assert numbers(page, "#found") == 127
    page.value("document.querySelector('#map').focus()")
    page.press(RIGHT)
    assert "Beginning of the text" in page.value("document.querySelector('#about').textContent")
    page.press(ESCAPE)
    left, top, right, bottom = (
        int(page.value(f"Math.round(document.querySelector('#map').getBoundingClientRect().{side})"))
        for side in ("left", "top", "right", "bottom")
    )
    page.drag((left + 2, top + 2), ((left + right) // 2, (top + bottom) // 2), (right - 2, bottom - 2))
    assert numbers(page, "#inside") == 127
    page.value("document.querySelector('#map').focus()")
    page.press(ESCAPE, RIGHT, "b", RIGHT, DOWN, RIGHT, "b")
    assert 1 < numbers(page, "#inside") < 127


def test_documents_are_filtered_by_their_words(opened):
    page = opened("browse")
    whole = numbers(page, "#found")
    page.value("document.querySelector('#words').focus()")
    page.press(*"onion")
    assert 0 < numbers(page, "#found") < whole


def test_the_mix_is_wide_enough_to_be_read(opened):
    page = opened("mix")
    assert page.value("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.value("[...document.querySelectorAll('img')].every((one) => one.naturalWidth > 0)")
    assert page.value("document.querySelectorAll('table').length") >= 1
