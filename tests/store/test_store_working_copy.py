"""Files of a home on an S3 server: two copies follow the store, whoever writes, is killed, or loses files."""

import shutil

import pytest

from tamis.store.home import Home, bring_up_to_date, writing
from tamis.store.remote.working_copy import OnDisk


@pytest.fixture
def homes(tmp_path, storage_url):
    return Home(tmp_path / "here", storage_url), Home(tmp_path / "there", storage_url)


def put(home: Home, name: str, content: str) -> None:
    path = home.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def files_of(home: Home) -> dict[str, str]:
    folders = ("manifests", "fitted", "checkpoints", "reports", "exports")
    paths = [path for folder in folders for path in (home.root / folder).rglob("*") if path.is_file()]
    return {home.relative(path): path.read_text() for path in paths}


def objects_of(home: Home, storage) -> dict[str, str]:
    prefix = home.url.split("/", 3)[3]
    return {name.removeprefix(f"{prefix}/"): body.decode() for name, body in storage.objects(prefix).items()}


def test_what_one_writes_changes_and_removes_the_other_sees(homes, storage):
    here, there = homes
    with writing(here, "first"):
        put(here, "manifests/ab/1.json", "one")
        put(here, "manifests/rows/ab/1.parquet", "kept")
        put(here, "reports/page.html", "page")
        put(here, "checkpoints/base/x/model.safetensors", "weights")
        put(here, "cache/not-kept", "")
    bring_up_to_date(there)
    assert set(files_of(there)) == set(files_of(here)) - {"checkpoints/base/x/model.safetensors"}
    folder = there.root / "checkpoints" / "base" / "x"
    assert there.files.holds("checkpoints/base/x/model.safetensors")
    assert there.files.fetch(folder), "the large ones come when they are asked for"
    assert files_of(there) == files_of(here) == objects_of(here, storage)
    with writing(there, "second"):
        put(there, "reports/page.html", "another page")
        (there.root / "manifests/rows/ab/1.parquet").unlink()
        (folder / "model.safetensors").unlink()
    bring_up_to_date(here)
    left = {"manifests/ab/1.json": "one", "reports/page.html": "another page"}
    assert files_of(here) == objects_of(here, storage) == left


def test_a_manifest_that_is_lost_while_somebody_writes_stays_in_the_store(homes, storage):
    here, _ = homes
    with writing(here, "first"):
        put(here, "manifests/ab/1.json", "one")
    with writing(here, "second"):
        (here.root / "manifests/ab/1.json").unlink()
    assert objects_of(here, storage) == {"manifests/ab/1.json": "one"}
    bring_up_to_date(here)
    assert files_of(here) == {"manifests/ab/1.json": "one"}


def test_nothing_is_sent_or_fetched_twice(homes, storage):
    here, there = homes
    with writing(here, "first"):
        for number in range(40):
            put(here, f"manifests/ab/{number}.json", str(number))
    bring_up_to_date(there)
    storage.faults(latency=0.0)
    with writing(here, "again"):
        here.publish([here.root / "manifests"])
    bring_up_to_date(there)
    seen = storage.faults(latency=0.0)
    assert [name for name in seen["written"] if "writer.lock" not in name] == ["POST /tamis-bucket"]
    assert seen["counts"]["GET"] < 20, "five listings each, and the lock"


def test_the_store_is_right_where_the_copy_was_altered_lost_or_cut_short(homes, storage):
    here, _ = homes
    with writing(here, "first"):
        put(here, "manifests/ab/1.json", "one")
        put(here, "reports/page.html", "page")
        put(here, "exports/chosen.jsonl", "{}")
    before = objects_of(here, storage)
    put(here, "manifests/ab/1.json", "altered")
    (here.root / "reports/page.html").unlink()
    (here.root / "exports/chosen.jsonl").unlink()
    put(here, "manifests/ab/2.json", "left by a killed writer")
    bring_up_to_date(here)
    assert files_of(here)["manifests/ab/1.json"] == "one"
    assert objects_of(here, storage) == before
    with writing(here, "next"):
        assert here.files.fetch(here.root / "exports")
    assert objects_of(here, storage) == before | {"manifests/ab/2.json": "left by a killed writer"}
    (here.root / "cache" / "objects.db").unlink()
    bring_up_to_date(here)
    with writing(here, "without what it knew"):
        pass
    assert objects_of(here, storage) == before | {"manifests/ab/2.json": "left by a killed writer"}


def test_without_its_cache_a_copy_brings_nothing_back(homes, storage):
    here, there = homes
    with writing(here, "first"):
        put(here, "reports/page.html", "a document that is withdrawn later")
        put(here, "exports/subset.jsonl", "the same")
        put(here, "manifests/ab/1.json", "one")
    bring_up_to_date(there)
    assert there.files.fetch(there.exports / "subset.jsonl")
    with writing(here, "withdrawal"):
        (here.root / "reports/page.html").unlink()
        (here.root / "exports/subset.jsonl").unlink()
    shutil.rmtree(there.cache)
    with writing(there, "another command"):
        put(there, "fitted/new.npz", "new")
    left = {"manifests/ab/1.json": "one", "fitted/new.npz": "new"}
    assert files_of(there) == objects_of(here, storage) == left


def test_an_index_that_is_no_database_is_made_anew(homes, storage):
    here, _ = homes
    with writing(here, "first"):
        put(here, "manifests/ab/1.json", "one")
    (here.cache / "objects.db").write_bytes(b"no database at all" * 100)
    put(here, "manifests/ab/1.json", "altered")
    bring_up_to_date(here)
    assert files_of(here) == objects_of(here, storage) == {"manifests/ab/1.json": "one"}


def test_what_lies_in_a_folder_before_it_is_a_copy_stays(homes, storage):
    here, _ = homes
    put(here, "manifests/ab/1.json", "of a home that moves")
    with writing(here, "first"):
        pass
    assert files_of(here) == objects_of(here, storage) == {"manifests/ab/1.json": "of a home that moves"}


def test_a_copy_is_never_emptied_by_a_store_that_fails(homes, storage, monkeypatch):
    from tamis.store.remote import objects
    from tamis.store.remote.objects import StorageUnavailableError

    here, _ = homes
    with writing(here, "first"):
        put(here, "manifests/ab/1.json", "one")
    from datetime import timedelta

    monkeypatch.setattr(objects, "PATIENCE", timedelta(seconds=1))
    objects._store.cache_clear()
    storage.faults(errors=1.0)
    with pytest.raises(StorageUnavailableError):
        bring_up_to_date(here)
    assert files_of(here) == {"manifests/ab/1.json": "one"}
    objects._store.cache_clear()


def test_files_that_are_being_written_are_not_sent(homes, storage):
    here, _ = homes
    with writing(here, "first"):
        put(here, "exports/chosen.part", "half")
        put(here, "manifests/ab/.x.tmp", "half")
        put(here, "checkpoints/base/.key.draft/model.safetensors", "half")
    assert objects_of(here, storage) == {}


def test_what_the_store_holds_is_hashed_there_and_read_apart(homes, storage):
    here, _ = homes
    with writing(here, "first"):
        put(here, "manifests/ab/1.json", "one")
        put(here, "fitted/x", "content")
    honest = here.files.digest("fitted/x")
    assert honest == OnDisk(here.root).digest("fitted/x")
    prefix = here.url.split("/", 3)[3]
    for name in ("fitted/x", "manifests/ab/1.json"):
        storage.client.put_object(Bucket="tamis-bucket", Key=f"{prefix}/{name}", Body=b"altered")
    assert here.files.digest("fitted/x") != honest
    assert here.files.digest("fitted/never") is None
    with here.as_stored("manifests") as stored:
        assert files_of(stored) == {"manifests/ab/1.json": "altered"}
        assert stored.url == here.url
    assert files_of(here)["manifests/ab/1.json"] == "one"


def test_a_home_without_a_store_is_its_own_truth(tmp_path):
    home = Home(tmp_path)
    put(home, "reports/page.html", "page")
    with writing(home, "anything"):
        home.publish([tmp_path / "reports"])
    assert home.files.holds("reports/page.html")
    assert not home.files.holds("reports")
    assert home.files.still_kept() == ""
    with home.as_stored("reports") as stored:
        assert stored == home
