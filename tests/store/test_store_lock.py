"""One writer at a time across machines: homes of their own before one S3 server."""

import threading
import time

import pytest

from tamis.base.errors import TransientError
from tamis.store.home import Home, HomeElsewhereError, HomeLockedError, placed, writer, writing
from tamis.store.remote import lock as module
from tamis.store.remote.lock import LOCK, LockLostError, RemoteLock, UnconditionalStoreError
from tamis.store.remote.objects import ObjectFolder


@pytest.fixture
def quick(monkeypatch):
    """Beats and expiry short enough for a test; the clock of the store counts whole seconds."""
    monkeypatch.setattr(module, "EXPIRY_SECONDS", 3.0)
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.5)
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.2)


@pytest.fixture
def homes(tmp_path, storage_url):
    return Home(tmp_path / "here", storage_url), Home(tmp_path / "there", storage_url)


def test_the_second_writer_is_told_who_writes_and_comes_after(homes):
    here, there = homes
    with (
        writing(here, "tamis materialize"),
        pytest.raises(HomeLockedError, match=r"process \d+ on .* \(tamis materialize\).*60 s") as raised,
        writing(there, "tamis withdraw"),
    ):
        pass
    assert isinstance(raised.value, TransientError)
    assert there.url in str(raised.value)
    assert writer(here) == writer(there) == ""
    with writing(there, "tamis withdraw"), writing(there, "within"):
        assert "tamis withdraw" in writer(here)
        assert writer(there) == ""
    assert ObjectFolder(here.url).listed() == {}, "the lock goes with its holder"


def test_a_living_holder_keeps_the_lock_beyond_its_expiry(homes, quick):
    here, there = homes
    with writing(here, "long work"):
        time.sleep(4.5)
        with pytest.raises(HomeLockedError), writing(there, "another"):
            pass
        here.publish_all()


def left_by_a_killed_process(home: Home) -> RemoteLock:
    lock = RemoteLock(ObjectFolder(home.url), home.root, "killed")
    lock._acquire(0.0)
    return lock


def test_what_a_killed_process_left_is_taken_from_the_same_home_at_once(homes):
    here, there = homes
    left_by_a_killed_process(here)
    with pytest.raises(HomeLockedError, match="killed"), writing(there, "another machine"):
        pass
    with writing(here, "the same home"):
        pass


def test_from_another_machine_it_is_taken_after_its_expiry_and_not_before(homes, quick):
    here, there = homes
    left_by_a_killed_process(here)
    began = time.monotonic()
    with writing(there, "another machine", patience_seconds=15):
        assert time.monotonic() - began >= 2


def test_a_holder_that_was_suspended_finds_that_it_lost_the_lock(homes, quick):
    here, there = homes
    lock = left_by_a_killed_process(here)
    with writing(there, "the next", patience_seconds=15):
        lock._renew()
        with pytest.raises(LockLostError, match="the next"):
            lock.require()
        lock._release()
        assert ObjectFolder(there.url).head(LOCK) is not None, "it does not take the lock of another with it"


def test_of_many_that_come_at_once_one_writes(storage_url, tmp_path):
    inside, most, lock = [], [], threading.Lock()

    def work(number: int) -> None:
        with writing(Home(tmp_path / str(number), storage_url), f"writer {number}", patience_seconds=60):
            with lock:
                inside.append(number)
                most.append(len(inside))
            time.sleep(0.05)
            with lock:
                inside.remove(number)

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]


def test_an_answer_that_was_lost_leaves_the_lock_to_its_holder(homes, storage):
    here, _ = homes
    storage.faults(after=0.4, seed=4)
    for _ in range(3):
        with writing(here, "with a bad line", patience_seconds=5):
            pass


def test_a_store_without_conditional_writes_is_refused(homes, monkeypatch):
    monkeypatch.setattr(ObjectFolder, "create", ObjectFolder.write)
    with pytest.raises(UnconditionalStoreError, match="If-None-Match"), writing(homes[0], "first"):
        pass
    assert ObjectFolder(homes[0].url).listed() == {}


def test_a_folder_is_the_copy_of_one_place(homes, tmp_path):
    here, there = homes
    with writing(here, "first"):
        pass
    assert placed(here) == here
    with pytest.raises(HomeElsewhereError, match=f"working copy of {here.url}.*no object store"):
        placed(Home(here.root))
    with pytest.raises(HomeElsewhereError, match=r"results are stored in s3://another"):
        placed(Home(here.root, "s3://another"))
    (there.root / "lance" / "heads.lance").mkdir(parents=True)
    with pytest.raises(HomeElsewhereError, match="tables of its own"):
        placed(there)
