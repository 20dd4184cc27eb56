"""Every sampler, every stage and every table of the store is compared by a golden."""

import importlib.util
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path

import polars as pl

from tamis.graph.stages import stages
from tamis.settings.samplers import FORMS, SAMPLERS, model_of, score_of
from tamis.store.schemas import RETAINED, declared, tables

PLUGGED_IN = "long-last"
"""A sampler that a golden's project brings itself."""
HERE = Path(__file__).resolve().parents[1] / "golden"


def mapping():
    """The module that says what the goldens compare; its folder is on the path of its own tests alone."""
    spec = importlib.util.spec_from_file_location("content_of_goldens", HERE / "content.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


READING = mapping()


def held(table: str) -> bool:
    """Tell whether a golden holds rows of a table."""
    files = [HERE / name / f"{table}.parquet" for name in READING.GOLDENS]
    return any(file.exists() and pl.scan_parquet(file).select(pl.len()).collect().item() for file in files)


def form(sampler: str) -> str:
    """A sampler's name, that of a model or a score as FORMS writes it."""
    if score_of(sampler):
        return "score:NAME"
    found = model_of(sampler)
    return sampler if found is None else f"{found.family}:MODEL{'' if found.checkpoint is None else '@SHARE'}"


def test_every_sampler_is_in_a_golden():
    settings = [tomllib.loads((HERE / name / "tamis.toml").read_text()) for name in READING.GOLDENS]
    used = {form(selection["sampler"]) for one in settings for selection in one["selection"]} - {PLUGGED_IN}
    assert ({*SAMPLERS} | {"perplexity:MODEL@SHARE", "ask-llm:MODEL", "score:NAME"}) - used == set()
    assert all(name in FORMS for name in used - {*SAMPLERS})


def test_every_stage_is_in_a_golden():
    heads = [pl.read_parquet(HERE / name / "heads.parquet") for name in READING.GOLDENS]
    assert {*stages()} - {*pl.concat(heads)["asset"]} == set()


def test_every_table_is_in_a_golden_and_holds_rows_there():
    """Of results that are kept for documents that left, too."""
    kinds = [*tables(), *(f"{RETAINED}{name}" for name in tables() if declared(f"{RETAINED}{name}"))]
    places = {name: table.store for name, table in READING.TABLES.items()}
    missing = []
    for kind in kinds:
        names = [name for name, store in places.items() if fnmatchcase(kind, store.replace("_*", "*"))]
        if not any(held(name) for name in names):
            missing.append(kind)
    assert missing == []
