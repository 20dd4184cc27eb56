"""The writer's lock of a home: between threads as between processes, and whoever holder it was that died."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from tamis.store.home import Home, HomeLockedError, writer, writing

HOLD = r"""
import os, sys
from pathlib import Path
from tamis.store.home import Home, HomeLockedError, writing
try:
    with writing(Home(Path(sys.argv[1])), "a command"):
        if "--with-child" in sys.argv and os.fork() == 0:
            os.write(1, b"forked\n")
            sys.stdin.read()
            os._exit(0)
        os.write(1, b"held\n")
        sys.stdin.read()
except HomeLockedError as error:
    print(error, flush=True)
"""


def command(home: Home, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(home.root), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


class Holder(threading.Thread):
    """Holds the lock until it is let go; `inside` is set while it does."""

    def __init__(self, home: Home, purpose: str) -> None:
        super().__init__(name=f"thread of {purpose}", daemon=True)
        self.home, self.purpose = home, purpose
        self.inside, self.let_go = threading.Event(), threading.Event()
        self.start()

    def run(self) -> None:
        with writing(self.home, self.purpose, patience_seconds=30):
            self.inside.set()
            self.let_go.wait(30)

    def end(self) -> None:
        self.let_go.set()
        self.join(30)


def test_of_four_threads_one_at_a_time_writes(home):
    inside, most, lock = [], [], threading.Lock()

    def work(number: int) -> None:
        for _ in range(3):
            with writing(home, f"writer {number}", patience_seconds=60), writing(home, "within"):
                with lock:
                    inside.append(number)
                    most.append(len(inside))
                time.sleep(0.02)
                with lock:
                    inside.remove(number)

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 12


def test_another_thread_is_refused_and_told_which_one_writes(home):
    holder = Holder(home, "arrivals sensor")
    assert holder.inside.wait(10)
    named = f"process {os.getpid()}, thread thread of arrivals sensor (arrivals sensor)"
    with pytest.raises(HomeLockedError) as raised, writing(home, "reselection sensor"):
        pass
    assert raised.value.holder == named
    assert writer(home) == named
    holder.end()
    assert writer(home) == ""
    with writing(home, "reselection sensor"):
        assert writer(home) == "", "a holder asks who else writes"


def test_no_process_gets_in_when_the_first_of_two_threads_leaves(home):
    first = Holder(home, "first")
    assert first.inside.wait(10)
    second = Holder(home, "second")
    assert not second.inside.wait(0.3)
    first.end()
    assert second.inside.wait(10)
    with command(home) as other:
        assert "thread of second (second)" in other.stdout.readline()
    second.end()


def test_the_lock_of_a_killed_process_is_free_though_a_process_that_it_forked_lives_on(home):
    with command(home, "--with-child") as holder:
        assert {holder.stdout.readline(), holder.stdout.readline()} == {"held\n", "forked\n"}
        with (
            pytest.raises(HomeLockedError, match=rf"process {holder.pid} \(a command\)"),
            writing(home, "me"),
        ):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait(10)
        with writing(home, "me"):
            pass


def test_a_forked_process_does_not_hold_what_its_parent_does(home):
    with writing(home, "parent"):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                with writing(home, "child"):
                    pass
            except HomeLockedError as error:
                code = 0 if "(parent)" in str(error) else 2
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        with command(home) as other:
            assert "(parent)" in other.stdout.readline(), "and what it closes is not the parent's lock"
