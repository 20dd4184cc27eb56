"""`dagster dev` until a signal comes: services that are still loading are killed, others close."""

import os
import signal
import threading
from collections.abc import Callable

import pytest
from dagster._cli.dev import dev_command
from projects import CHECKOUT, SmallProject, plain_project, settings

from tamis.runtime import services


@pytest.fixture
def project(tmp_path) -> SmallProject:
    return plain_project(tmp_path, settings(), {})


@pytest.fixture
def kills(monkeypatch) -> list[str]:
    """What was done when a signal came."""
    found: list[str] = []
    monkeypatch.setattr(services, "kill_services", lambda: found.append("killed"))
    return found


def serve(project: SmallProject, monkeypatch, answers: bool, number: int) -> None:
    """Serve until a signal comes, after the UI has answered or before."""
    answered = threading.Event()

    def when_it_answers(_host: str, _port: int, ready: Callable[[], None], _ended: object) -> None:
        if answers:
            ready()

    def wait(_context: object) -> None:
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))  # as Dagster does
        assert not answers or answered.wait(10)
        os.kill(os.getpid(), number)
        raise AssertionError("the signal did not interrupt")

    monkeypatch.chdir(CHECKOUT)  # as `tamis ui` does: the workspace is there
    monkeypatch.setattr(services, "_when_it_answers", when_it_answers)
    monkeypatch.setattr(dev_command, "invoke", wait)
    with pytest.raises(KeyboardInterrupt):
        services.serve(project.home, "127.0.0.1", 4319, ready=answered.set)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("answers", [False, True])
def test_a_signal_kills_only_what_is_still_loading(project, kills, monkeypatch, answers, number):
    before = signal.getsignal(number)
    serve(project, monkeypatch, answers, number)
    assert kills == ([] if answers else ["killed"])
    assert signal.getsignal(number) == before
