"""What new data costs: JSON lines on stdout.

    python -m benchmarks.incremental [--part curve|few|many|nothing|tick|ingest] [--documents 100000]

`curve`: over a pool of real texts in files of 1,000 (static encoder, a GOT-D selection), seconds and rows
from new files to the new selection, and to everything that follows it (density, pages, SQL models, audit),
for +0.1, +1, +10 and +100 %, by the sensors' way (certified; ticks and the runs that they request, in one
process; loading it is printed, not counted) next to the full build; then `tamis materialize`, compared with a
build from nothing, and `tamis materialize` alone after +1 %. `few`: 100 documents added to 1,000,000, by the
sensors. `many`: 500 files of ten documents that come one after another to 200 files of a hundred, each
selected before the next comes; what the last twenty cost next to the first twenty, which come in turns with
them to a copy of the project from before. `nothing`: `tamis materialize` when nothing changed, 1,000 files.
`tick`: both sensors when nothing changed, 10,000 files. `ingest`: files to the documents table, 100,000 and
1,000,000 short documents. Exits 1 when a figure misses its limit. Two hours on two cores, most of it building
what is measured, and 45 minutes or more of it part many.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median

import polars as pl

from benchmarks._coverage_data import Report
from benchmarks._flags import begin
from benchmarks._incremental_project import (
    DOCUMENTS_EACH,
    TARGET_TEXTS,
    add_files,
    arriving,
    command,
    in_process_of_its_own,
    make_project,
    real_texts,
)
from benchmarks._scale_million import write_documents
from benchmarks._yardstick import least_rate, most_seconds
from tamis.records.current_values import read_current_values
from tamis.store.home import Home

SHARES = (0.001, 0.01, 0.1, 1.0)
CLAIMED, SHARE_OF_BUILD, PLUS_SECONDS = 0.01, 0.03, 10.0
AIM_SECONDS = 15.0
"""What `tamis materialize` after +1 % was to take; it is printed, and no limit."""
IN_A_FILE = 1_000
FEW, OF_MANY, FEW_SECONDS = 100, 1_000_000, 30.0
ARRIVALS, AT_EACH_END, MOST_GROWTH = 500, 20, 1.2
ONLY_SELECTIONS = 'until = "selections"\n'
"""Continues the settings of `make_project`, which end with their section [automation]."""
NOTHING_SECONDS, TICK_SECONDS, INGEST_RATE, INGEST_MEGABYTES = 5.0, 0.5, 20_000, 1_536
COMPARED = (
    "documents",
    "embeddings",
    "density_sketch",
    "near_duplicates",
    "contamination",
    "selected_subset",
)


def curve(folder: Path, documents: int, seed: int, report: Report) -> None:
    """The cost of new data by its share, and what settling leaves."""
    every = real_texts(TARGET_TEXTS + 2 * documents, seed)
    make_project(folder, every[: TARGET_TEXTS + documents], -(-documents // IN_A_FILE))
    build, _ = command(folder, "materialize")
    report.line("full_build", documents=documents, seconds=build)
    new = every[TARGET_TEXTS + documents :]
    for share in SHARES:
        copied = folder.with_name(f"{folder.name}-{share}")
        shutil.copytree(folder, copied, symlinks=True)
        count = int(share * documents)
        add_files(copied, new[:count], -(-count // IN_A_FILE), "new")
        found = in_process_of_its_own("ticks", copied)
        seconds = float(str(found["seconds_to_selection"]))
        plus = most_seconds(PLUS_SECONDS, "core")
        limit = {"limit_seconds": SHARE_OF_BUILD * build + plus.here, **plus.figures("plus_seconds")}
        report.line(
            "new_data",
            holds=seconds <= limit["limit_seconds"] if share == CLAIMED else None,
            share=share,
            documents=count,
            selection_over_build=seconds / build,
            **(limit if share == CLAIMED else {}),
            **found,
        )
        if share == CLAIMED:
            settled(copied, report)
            shutil.rmtree(copied)
            shutil.copytree(folder, copied, symlinks=True)
            add_files(copied, new[:count], -(-count // IN_A_FILE), "new")
            alone, _ = command(copied, "materialize")
            report.line("by_command", documents=count, seconds=alone, aim_seconds=AIM_SECONDS)
        shutil.rmtree(copied)


def settled(folder: Path, report: Report) -> None:
    """Whether `tamis materialize` after the sensors equals a build from nothing."""
    seconds, _ = command(folder, "materialize")
    other = folder / "from-nothing"
    rebuilt, _ = command(folder, "materialize", home=other)
    one, two = (_digests(Home(home)) for home in (folder / ".tamis", other))
    differ = sorted(
        {asset for asset, _partition in {*one.items(), *two.items()} - (one.items() & two.items())}
    )
    report.line(
        "settled", holds=one == two, values=len(one), seconds=seconds, rebuild_seconds=rebuilt, differ=differ
    )


def _digests(home: Home) -> dict[tuple[str, str], str]:
    """Digest of what is stored of each value compared, from its manifest."""
    from tamis.records.manifest import ManifestFolder

    folder = ManifestFolder(home.manifests)
    current = read_current_values(home.store).items()
    return {entry: folder.read(value.manifest).digest for entry, value in current if entry[0] in COMPARED}


def few(folder: Path, seed: int, report: Report) -> None:
    """A few documents that come to a large pool: seconds of the sensors to the selection."""
    write_documents(folder, OF_MANY, seed)
    with (folder / "tamis.toml").open("a") as settings:
        settings.write(f"[automation]\nsettle_seconds = 0.5\n{ONLY_SELECTIONS}")
    build, _ = command(folder, "materialize")
    new = folder.with_name(f"{folder.name}-new")
    write_documents(new, FEW, seed + 1)
    shutil.move(new / "pool" / "part-0000.jsonl", folder / "pool" / "new.jsonl")
    shutil.rmtree(new)
    found = in_process_of_its_own("ticks", folder)
    most = most_seconds(FEW_SECONDS, "core")
    holds = float(str(found["seconds_to_selection"])) <= most.here
    figures = {"documents": OF_MANY, "build_seconds": build, **found, **most.figures()}
    report.line("few_of_many", holds=holds, new=FEW, **figures)


def many(folder: Path, seed: int, report: Report) -> None:
    """Many files, one after another: what the last of them cost next to the first."""
    files = 200
    first = TARGET_TEXTS + files * 100
    every = real_texts(first + ARRIVALS * DOCUMENTS_EACH, seed)
    make_project(folder, every[:first], files)
    with (folder / "tamis.toml").open("a") as settings:
        settings.write(ONLY_SELECTIONS)
    pl.DataFrame({"text": every[first:]}).write_parquet(folder / "coming.parquet")
    command(folder, "materialize")
    before = folder.with_name(f"{folder.name}_before")
    shutil.copytree(folder, before)
    with arriving(folder) as later:
        seconds = [later(number) for number in range(ARRIVALS - AT_EACH_END)]
        with arriving(before) as sooner:  # in turns, since machines become slower and faster
            ends = [(sooner(number), later(len(seconds) + number)) for number in range(AT_EACH_END)]
    begun, ended = (median(part) for part in zip(*ends, strict=True))
    figures = {"first_seconds": begun, "last_seconds": ended, "limit": MOST_GROWTH}
    report.line(
        "arrivals",
        holds=ended <= MOST_GROWTH * begun,
        arrivals=ARRIVALS,
        last_over_first=ended / begun,
        every_fiftieth=seconds[::50],
        **figures,
    )


def nothing(folder: Path, seed: int, report: Report) -> None:
    """A materialization that has nothing to do."""
    make_project(folder, real_texts(TARGET_TEXTS + 20_000, seed), 1_000)
    build, _ = command(folder, "materialize")
    seconds = min(command(folder, "materialize")[0] for _ in range(2))
    most = most_seconds(NOTHING_SECONDS, "process")
    figures = {"shards": 1_000, "seconds": seconds, "build": build, **most.figures()}
    report.line("nothing_changed", holds=seconds < most.here, **figures)


def tick(folder: Path, seed: int, report: Report) -> None:
    """A tick of both sensors that has nothing to do."""
    make_project(folder, real_texts(TARGET_TEXTS + 50_000, seed), 10_000)
    with (folder / "tamis.toml").open("a") as settings:
        settings.write(ONLY_SELECTIONS)
    build, _ = command(folder, "materialize", "--only", *STEADY)
    found = in_process_of_its_own("idle", folder)
    most = most_seconds(TICK_SECONDS, "core")
    holds = float(str(found["seconds"])) < most.here
    report.line("steady_tick", holds=holds, build_seconds=build, **found, **most.figures())


STEADY = (
    "target_examples",
    "raw_shards",
    "documents",
    "near_duplicates",
    "embeddings",
    "contamination",
    "target_embeddings",
    "target_potential",
    "transport_scores",
    "selected_subset",
    "density_sketch",
    "density_scores",
)


def ingest(folder: Path, seed: int, report: Report) -> None:
    """Files into the documents table."""
    for documents in (100_000, 1_000_000):
        place = folder.with_name(f"{folder.name}-{documents}")
        make_project(place, real_texts(TARGET_TEXTS + documents, seed), documents // 10_000)
        found = in_process_of_its_own("ingest", place)
        least = least_rate(INGEST_RATE, "core")
        judged = documents <= 100_000
        fast = not judged or float(str(found["documents_per_second"])) >= least.here
        small = float(str(found["peak_megabytes"])) <= INGEST_MEGABYTES
        limits = {"limit_megabytes": INGEST_MEGABYTES} | (least.figures("limit_rate") if judged else {})
        report.line("ingest", holds=fast and small, **found, **limits)
        shutil.rmtree(place)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = {"curve": None, "few": few, "many": many, "nothing": nothing, "tick": tick, "ingest": ingest}
    parser.add_argument("--part", choices=parts, help="only this part (default: all)")
    parser.add_argument("--documents", type=int, default=100_000, help="pool of the cost curve")
    parser.add_argument("--seed", type=int, default=0)
    options = begin(parser)
    report = Report()
    with tempfile.TemporaryDirectory() as scratch:
        for part in [options.part] if options.part else parts:
            folder = Path(scratch) / part
            if (measure := parts[part]) is None:
                curve(folder, options.documents, options.seed, report)
            else:
                measure(folder, options.seed, report)
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(f"missed: {', '.join(report.failed)}" if report.failed else 0)


if __name__ == "__main__":
    main()
