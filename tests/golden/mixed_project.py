"""The second golden's project: its files, what becomes of them, and what is withdrawn."""

import csv
import gzip
import io
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

TOPICS = {
    "cooking": "simmer butter garlic onion roast oven flour dough whisk pepper sauce bake spice broth",
    "sailing": "mast rudder harbour tide anchor sail wind compass deck knot voyage current hull storm",
    "algebra": "matrix vector kernel group ring field proof lemma module basis tensor eigenvalue theorem",
    "garden": "soil seed compost prune root stem petal mulch hedge spade bulb shrub meadow orchard",
    "music": "chord melody rhythm tempo violin octave harmony drum chorus sonata tune string brass reed",
}
COMMON = [
    "the",
    "a",
    "of",
    "to",
    "with",
    "and",
    "then",
    "from",
    "under",
    "over",
    "while",
    "until",
    "each",
    "because",
    "which",
    "therefore",
]
GERMAN = (
    "Der Fluss stieg in der Nacht und niemand im Dorf hatte erwartet dass er die Brücke erreichen würde. "
    "Am Morgen standen die Menschen am Ufer und sahen dem Wasser zu, das langsam wieder fiel. "
)
Rows = list[dict[str, Any]]
Run = Callable[..., None]
QUARANTINED = (0, 1)
"""Codes that `materialize` ends with while rows are in quarantine."""


def texts(topic: str, count: int, seed: int) -> list[str]:
    """Documents of one topic, six sentences each, all different."""
    draw = random.Random(f"{topic}:{seed}")
    words = TOPICS[topic].split()

    def sentence() -> str:
        chosen = [draw.choice(words if draw.random() < 0.55 else COMMON) for _ in range(draw.randint(8, 14))]
        return " ".join(chosen).capitalize() + "."

    return [" ".join(sentence() for _ in range(6)) for _ in range(count)]


def build(root: Path, run: Run) -> None:
    """Write the files; materialize; change, add and remove files and withdraw documents; materialize."""
    with judge() as url:
        settings = root / "tamis.toml"
        settings.write_text(settings.read_text().replace("JUDGE_URL", url))
        write_files(root)
        run(root, ["materialize"], codes=QUARANTINED)
        change_files(root)
        (root / "withdrawn.txt").write_text(texts("algebra", 60, 1)[7])
        gone = ["--text", "withdrawn.txt", "--shard", "notes__letter.md", "--reason", "licence"]
        run(root, ["withdraw", *gone, "--json"])
        run(root, ["materialize"], codes=QUARANTINED)


@contextmanager
def judge() -> Iterator[str]:
    """Address of the judge's server, a process that ends with this block."""
    command = [sys.executable, str(Path(__file__).with_name("judge_stub.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
        finally:
            process.stdin.close()


def write_files(root: Path) -> None:
    """Every format, bad rows among the good ones, near-duplicates, and what the filters refuse."""
    web, notes, strange = root / "web", root / "notes", root / "strange"
    for folder in (web, notes, strange, root / "support", root / "topics"):
        folder.mkdir()
    cooking, algebra = texts("cooking", 60, 1), texts("algebra", 60, 1)
    lines = [json.dumps(row) for row in named(cooking, "https://kitchen.test")]
    lines[10:10] = ['{"text": "cut off', '{"title": "no text here"}', '{"text": "   "}', "[1, 2]"]
    lines[30:30] = [json.dumps({"text": "much too long " * 2_000})]
    (web / "cooking.jsonl").write_text("\n".join(lines) + "\n")
    (web / "sailing.csv").write_bytes(as_csv(sailing_rows(texts("sailing", 50, 1))))
    rows = [*named(algebra, "https://algebra.test"), {"text": None, "source": "https://algebra.test/none"}]
    pq.write_table(pa.Table.from_pylist(rows), web / "algebra.parquet")
    (web / "garden.jsonl.gz").write_bytes(gzip.compress(as_lines(named(texts("garden", 40, 1), "")), mtime=0))
    music = [*texts("music", 40, 1), *nearly(cooking[:6]), cooking[20], cooking[21]]
    (web / "music.jsonl.zst").write_bytes(zstandard.compress(as_lines(named(music, "https://music.test"))))
    whole = gzip.compress(as_lines(named(texts("music", 30, 2), "")), mtime=0)
    (web / "cut.jsonl.gz").write_bytes(whole[: len(whole) * 2 // 3])
    (web / "planted.jsonl").write_bytes(as_lines(planted()))
    for number, text in enumerate(texts("sailing", 6, 3)):
        (notes / f"log{number}.txt").write_text(text + "\n", encoding="utf-8", newline="\r\n")
    (notes / "letter.md").write_text("# A letter\n\n" + texts("garden", 1, 4)[0] + "\n")
    (notes / "wrong.txt").write_bytes(b"\xff\xfe\x00half of a character \xd8")
    (strange / "river.txt").write_text(GERMAN * 2, encoding="utf-8")
    write_targets(root)


def write_targets(root: Path) -> None:
    """Questions with answers about algebra, one of them without, and texts of three topics with labels."""
    answers, asked = texts("algebra", 40, 5), texts("algebra", 40, 6)
    pairs: Rows = [
        {"question": f"What of {question.split('.')[0].lower()}?", "answer": answer}
        for question, answer in zip(asked, answers, strict=True)
    ]
    pairs.insert(5, {"question": "and without an answer?"})
    (root / "support" / "pairs.jsonl").write_bytes(as_lines(pairs))
    labelled = [
        {"text": text, "topic": topic}
        for topic in ("cooking", "algebra", "music")
        for text in texts(topic, 25, 7)
    ]
    random.Random("labels").shuffle(labelled)
    (root / "topics" / "labelled.csv").write_bytes(as_csv(labelled))


def change_files(root: Path) -> None:
    """One file changes, one goes, one comes, and the broken one is mended in part."""
    web = root / "web"
    rows = sailing_rows([*texts("sailing", 47, 1), *texts("sailing", 9, 2)])
    (web / "sailing.csv").write_bytes(as_csv(rows))
    (web / "garden.jsonl.gz").unlink()
    (web / "late.jsonl").write_bytes(as_lines(named(texts("algebra", 12, 8), "https://late.test")))
    (root / "notes" / "log0.txt").unlink()


def named(found: list[str], site: str) -> Rows:
    """Rows of texts, with a source each and every third with a licence."""
    return [
        {"text": text}
        | ({"source": f"{site}/{number}"} if site else {})
        | ({"licence": "MIT"} if number % 3 == 0 else {})
        for number, text in enumerate(found)
    ]


def sailing_rows(found: list[str]) -> Rows:
    """Rows for a csv file; one text is empty."""
    rows: Rows = [{"id": number, "text": text, "language": "en"} for number, text in enumerate(found)]
    rows[12]["text"] = ""
    return rows


def nearly(found: list[str]) -> list[str]:
    """The same texts with one word changed: near-duplicates."""
    return [text.replace(" the ", " that ", 1) for text in found]


def planted() -> Rows:
    """A row for each filter."""
    plain = texts("music", 8, 9)
    return [
        {"text": plain[0], "language": "fr"},
        {"text": f"{plain[1]} Write to jane.doe@mail.test or call +1 415 555 2671."},
        {"text": plain[2], "licence": "Proprietary, all rights reserved"},
        {"text": plain[3], "source": "https://bad.example/1"},
        {"text": f"{plain[4]} {'# ' * 60}"},
        {"text": "Too short a text."},
        {"text": plain[5]},
    ]


def as_lines(rows: Rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_csv(rows: Rows) -> bytes:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().encode()
