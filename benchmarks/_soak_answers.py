"""The reader in the soak: asks for the UI and the pages by turns, and notes how long each answer takes."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks._soak_processes import Interface
from tamis.report.address import pages_address
from tamis.store.home import Home

EVERY_SECONDS = 2.0
ASSET, SELECTION = "documents", "near"
ABSENT = "absent"
ASSET_PAGE = """
query AssetViewDefinitionQuery($assetKey: AssetKeyInput!) {
  assetOrError(assetKey: $assetKey) {
    ... on Asset {
      id
      key { path }
      hasDefinitionOrRecord
      assetMaterializations(limit: 1) { timestamp runId partition metadataEntries { label description } }
      definition {
        id
        groupName
        description
        opVersion
        isExecutable
        jobNames
        partitionDefinition { description dimensionTypes { type dynamicPartitionsDefinitionName } }
        partitionKeysByDimension { name }
        partitionStats { numMaterialized numMaterializing numPartitions numFailed }
        dependencyKeys { path }
        dependedByKeys { path }
        owners { ... on TeamAssetOwner { team } ... on UserAssetOwner { email } }
        repository { id name location { id name } }
      }
    }
  }
}
"""
"""What Dagster's page of an asset asks first, under the same name, with most of its fields."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A question and the seconds until its answer was there; `during`: while a run or a command was at work.

    `problem`: why there is none, `ABSENT` for a page that the server does not have at the moment.
    """

    second: float
    of: str
    seconds: float
    during: bool
    problem: str = ""


@dataclass
class Asking:
    """Asks one address after the other; `say` gets every answer.

    `settled` is set when all is current, so that no page may be absent any more.
    """

    ui: Interface
    say: Callable[[Answer], None]
    clock: Callable[[], float]
    answers: list[Answer] = field(default_factory=list)
    settled: threading.Event = field(default_factory=threading.Event)

    def addresses(self) -> dict[str, Callable[[], str]]:
        """Return what asks each address and returns why there is no answer, or ""."""
        pages = pages_address(Home(self.ui.paths.home)).url
        return {
            "ui": lambda: self._page(f"http://127.0.0.1:{self.ui.port}/"),
            "asset": self._asset,
            "index": lambda: self._page(f"{pages}index.html"),
            "selection": lambda: self._page(f"{pages}selection_{SELECTION}.html"),
            "map": lambda: self._page(f"{pages}map_{SELECTION}.html"),
        }

    def ask(self, of: str, look: Callable[[], str], before: bool) -> bool:
        """Ask and note the answer; returns whether a run or a command is at work afterwards.

        `before`: whether one was after the question before this one; what began and ended since took less
        than two seconds, which is no run.
        """
        began, settled = time.monotonic(), self.settled.is_set()
        try:
            problem = look()
        except Exception as error:  # whatever it is, there was no answer
            problem = f"{type(error).__name__}: {error}"[:200]
        seconds = round(time.monotonic() - began, 3)
        if problem == ABSENT and settled:
            problem = "absent although all is current"
        after = self.ui.at_work()
        answer = Answer(second=self.clock(), of=of, seconds=seconds, during=before or after, problem=problem)
        self.answers.append(answer)
        self.say(answer)
        return after

    def _page(self, url: str) -> str:
        status = self.ui.status_of(url)
        return "" if status == 200 else ABSENT if status == 404 else f"status {status}"

    def _asset(self) -> str:
        found: dict[str, Any] = self.ui.ask(ASSET_PAGE, assetKey={"path": [ASSET]})["assetOrError"]
        return "" if found.get("definition") else f"no definition of {ASSET}"


@contextmanager
def asking(
    ui: Interface, line: Callable[..., None], clock: Callable[[], float], every: float = EVERY_SECONDS
) -> Iterator[Asking]:
    """Ask in a thread, a question every so many seconds, each printed as a line."""
    found = Asking(ui, lambda answer: line("answer", **_figures(answer)), clock)
    ended = threading.Event()

    def repeat() -> None:
        busy = ui.at_work()
        while True:
            for of, look in found.addresses().items():
                busy = found.ask(of, look, busy)
                if ended.wait(every):
                    return

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def _figures(answer: Answer) -> dict[str, Any]:
    return {name: value for name, value in asdict(answer).items() if name != "second" and value != ""}
