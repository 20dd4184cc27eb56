"""Two at once on one home: two commands, a command during a run of the sensors, a run during compaction."""

import subprocess
import threading

import pytest
from crashes import lay
from projects import small_settings, watched
from soundness import assert_sound, versions

from tamis.store.tables import Store


@pytest.fixture(scope="module")
def built(tmp_path_factory, materialized):
    return materialized(tmp_path_factory.mktemp("calm") / "project", small_settings())


@pytest.fixture(scope="module")
def elsewhere(built, tmp_path_factory):
    """A home at rest in another state of the files."""
    project = built.copy(tmp_path_factory.mktemp("elsewhere") / "project")
    lay(project, "third")
    corpus = ("target_examples", "raw_shards", "documents", "embeddings")
    project.tamis("materialize", "--allow-removal", "landing", "--only", *corpus)
    return project


@pytest.fixture
def changed(elsewhere, tmp_path):
    """A home that was at rest in another state of the files and has all of `built` to do again."""
    project = elsewhere.copy(tmp_path / "copy")
    lay(project, "first")
    return project


def start(project) -> subprocess.Popen:
    return subprocess.Popen(
        project.command("materialize", "--verbose"),
        cwd=project.root,
        env=project.environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_commands(changed, built):
    one, two = start(changed), start(changed)
    said = [process.communicate(timeout=400)[1] for process in (one, two)]
    for process, text in zip((one, two), said, strict=True):
        assert process.returncode == 0 or "is being written by process" in text, text
        assert "Traceback" not in text
    assert 0 in (one.returncode, two.returncode)
    assert versions(changed) == versions(built)
    assert_sound(changed)


def test_a_command_beside_a_run_that_a_sensor_asked_for(changed, built, monkeypatch):
    for platform in watched(changed, monkeypatch):
        platform.arrive()
        (request,), _reason = platform.tick()
        command = start(changed)
        assert command.stderr is not None
        for line in command.stderr:
            if line.endswith(": started\n"):
                break
        assert platform.tick()[0] == [], "nothing is requested while a command writes"
        assert platform.execute(request).success, "it waits for its turn"
        rest = command.communicate(timeout=400)[1]
        assert command.returncode == 0, rest
        platform.until_rest()
    changed.tamis("materialize")
    assert versions(changed) == versions(built)
    assert_sound(changed)


def test_a_run_during_compaction(changed, built):
    done = threading.Event()
    compacted: list[str] = []

    def compact_all_the_time() -> None:
        while not done.wait(0.05):
            compacted.extend(compact(changed.store))

    compaction = threading.Thread(target=compact_all_the_time)
    compaction.start()
    try:
        changed.tamis("materialize")
    finally:
        done.set()
        compaction.join()
    assert len(compacted) > 20
    assert versions(changed) == versions(built)
    assert_sound(changed)


def compact(store: Store) -> list[str]:
    """Compaction as any maintenance job would do it: whatever table there is, whoever writes to it."""
    import lancedb

    connection = lancedb.connect(str(store.folder))
    done = []
    for table in store.names():
        try:
            connection.open_table(table).optimize()
        except (RuntimeError, ValueError, OSError):
            continue  # It lost the race against a writer; the writer must not lose.
        done.append(table)
    return done
