"""The project of the soak: its files as they should be, what has to become of them, and what happens to them.

Every text is drawn from the seed and its number, so the same seed makes the same files. What the pool has to
hold is worked out here from the files alone, without any code of the product.
"""

import gzip
import hashlib
import json
import os
import random
import unicodedata
import zlib
from dataclasses import dataclass, field
from pathlib import Path

TOPICS = {
    "garden": "seed soil compost prune hedge bulb mulch spade petal root frost bloom trellis shade",
    "railway": "signal track sleeper carriage engine platform gauge shunt brake buffer tunnel points whistle",
    "statistics": "sample variance median estimator bias quantile likelihood prior residual variable margin",
}
COMMON = ["the", "a", "of", "to", "with", "and", "then", "from", "under", "over", "while", "until", "each"]
TARGET, WORDS = "statistics", 40
BAD_LINES = (b'{"text": "cut of', b'{"body": "no text column"}', b'{"text": null}', b'{"text": 5}', b"[1, 2]")
BUDGETS = (10, 15, 20, 25, 30)
LEAST_FILES, FIRST_DOCUMENTS, MARKED = 4, 30, 2
KINDS = ("arrive", "change", "disappear", "truncate", "spoil", "withdraw", "settings", "kill")
SETTINGS = """
[project]
name = "soak"

[automation]
interval_seconds = 5
settle_seconds = 1.0

[[corpus]]
name = "landing"
kind = "files"
path = "landing"
text_column = "text"

[[target]]
name = "statistics"
kind = "files"
path = "target"
train = 30
held_out = 15

[transport]
relative_epsilon = 0.05

[density]
rows = 50
hashes = 4

[[selection]]
name = "near"
sampler = "got-d"
target = "statistics"
budget = {near}

[[selection]]
name = "uniform"
sampler = "random"
budget = {uniform}
"""


def content_id(text: str) -> str:
    """Return the id that design section 3 gives a text: half of a SHA-256, in hex, of its normal form."""
    normal = unicodedata.normalize("NFC", text).replace("\r\n", "\n").strip()
    return hashlib.sha256(normal.encode()).hexdigest()[:32]


def marker(seed: int, number: int) -> str:
    """Return 64 hexadecimal characters that nothing compresses and no other document holds."""
    return hashlib.sha256(f"soak {seed} {number}".encode()).hexdigest()


@dataclass
class File:
    """A file of the corpus: its rows in order, where an int is a bad line, and how much of it is there."""

    rows: list[str | int] = field(default_factory=list)
    share: float = 1.0  # of its bytes; under 1 only where it is compressed

    @property
    def texts(self) -> list[str]:
        return [row for row in self.rows if isinstance(row, str)]

    def content(self, name: str) -> bytes:
        """Return the bytes of the file under that name."""
        lines = [
            BAD_LINES[row] if isinstance(row, int) else json.dumps({"text": row}).encode()
            for row in self.rows
        ]
        plain = b"".join(line + b"\n" for line in lines)
        if not name.endswith(".gz"):
            return plain
        packed = gzip.compress(plain, mtime=0)
        return packed[: int(self.share * len(packed))]

    def readable(self, name: str) -> dict[int, str]:
        """Return the good texts by row: those of whole rows before the place where a broken file ends."""
        data = self.content(name)
        if name.endswith(".gz"):
            data = zlib.decompressobj(wbits=31).decompress(data)
        *whole, rest = data.split(b"\n")
        count = len(whole) + rest.endswith(b'"}')
        return {row: text for row, text in enumerate(self.rows[:count]) if isinstance(text, str)}

    def least_quarantined(self, name: str) -> int:
        """Return how many entries the file has in quarantine at least."""
        return int(self.share < 1) or sum(isinstance(row, int) for row in self.rows)


class Landing:
    """The folder of the corpus, the settings, and what was withdrawn."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.seed = root, seed
        self.chance = random.Random(f"soak {seed}")
        self.files: dict[str, File] = {}
        self.marked: dict[str, int] = {}
        self.withdrawn: set[str] = set()
        self.budgets = {"near": 20, "uniform": 20}
        self._number = 0

    def lay(self) -> None:
        """Write the project as it is before the first event."""
        (self.root / "landing").mkdir(parents=True)
        (self.root / "target").mkdir()
        self.write_settings()
        for topic in TOPICS:
            self._put(f"{topic}.jsonl", File([*self._texts(FIRST_DOCUMENTS, topic)]))
            self._put(f"{topic}.jsonl.gz", File([*self._texts(FIRST_DOCUMENTS // 2, topic)]))
        examples = "".join(json.dumps({"text": text}) + "\n" for text in self._texts(60, TARGET, marked=0))
        (self.root / "target" / "examples.jsonl").write_text(examples)

    def write_settings(self) -> None:
        """Write tamis.toml whole."""
        self._replace(self.root / "tamis.toml", SETTINGS.format(**self.budgets).encode())

    def expected(self) -> dict[str, dict[int, str]]:
        """Return the ids by row that the pool has to hold of each file."""
        return {
            name: {
                row: found
                for row, text in file.readable(name).items()
                if (found := content_id(text)) not in self.withdrawn
            }
            for name, file in self.files.items()
        }

    def happen(self, kind: str) -> dict[str, object]:
        """Let an event happen to files or settings; what it did, for the log."""
        return getattr(self, f"_{kind}")()

    def _arrive(self) -> dict[str, object]:
        """A new file: new texts, some that another file has, and one that nearly repeats another."""
        self._number += 1
        suffix = self.chance.choice((".jsonl", ".jsonl.gz"))
        texts = self._texts(self.chance.randint(8, 25), self.chance.choice(sorted(TOPICS)))
        others = sorted({text for file in self.files.values() for text in file.texts} - {*texts})
        plain = [text for text in others if content_id(text) not in self.marked]
        near = f"{self.chance.choice(plain)} again"
        rows = [*texts, *self.chance.sample(others, min(3, len(others))), near]
        self.chance.shuffle(rows)
        name = f"arrived-{self._number:03d}{suffix}"
        self._put(name, File([*rows]))
        return {"file": name, "documents": len(rows)}

    def _change(self) -> dict[str, object]:
        """Some rows of a file are others, some more come, and what was broken in it is mended."""
        name = self.chance.choice(sorted(self.files))
        texts = self.files[name].texts
        for place in self.chance.sample(range(len(texts)), min(4, len(texts))):
            texts[place] = self._texts(1, self.chance.choice(sorted(TOPICS)), marked=0)[0]
        texts += self._texts(self.chance.randint(1, 4), self.chance.choice(sorted(TOPICS)))
        self._put(name, File([*texts]))
        return {"file": name, "documents": len(texts)}

    def _disappear(self) -> dict[str, object]:
        """One file is gone: a single small one, never many at once."""
        if len(self.files) <= LEAST_FILES:
            return self._arrive()
        name = self.chance.choice(sorted(self.files))
        (self.root / "landing" / name).unlink()
        return {"file": name, "documents": len(self.files.pop(name).texts)}

    def _truncate(self) -> dict[str, object]:
        """A compressed file ends too early, as after a copy that was cut off."""
        whole = [
            name for name, file in sorted(self.files.items()) if name.endswith(".gz") and file.share == 1
        ]
        if not whole:
            return self._arrive()
        name = self.chance.choice(whole)
        broken = File(self.files[name].rows, self.chance.uniform(0.55, 0.95))
        self._put(name, broken)
        return {"file": name, "share": round(broken.share, 2), "readable": len(broken.readable(name))}

    def _spoil(self) -> dict[str, object]:
        """Bad rows among the good ones of a file."""
        name = self.chance.choice([name for name, file in sorted(self.files.items()) if file.share == 1])
        rows = [*self.files[name].rows]
        for _ in range(3):
            rows.insert(self.chance.randint(0, len(rows)), self.chance.randrange(len(BAD_LINES)))
        self._put(name, File(rows))
        return {"file": name, "bad_rows": sum(isinstance(row, int) for row in rows)}

    def _settings(self) -> dict[str, object]:
        """Another budget of a selection."""
        name = self.chance.choice(sorted(self.budgets))
        self.budgets[name] = self.chance.choice([one for one in BUDGETS if one != self.budgets[name]])
        self.write_settings()
        return {"selection": name, "budget": self.budgets[name]}

    def to_withdraw(self) -> str:
        """Return the id of a marked document that the pool has to hold; each file comes with two."""
        pool = {found for rows in self.expected().values() for found in rows.values()}
        return self.chance.choice(sorted(pool.intersection(self.marked)))

    def _texts(self, count: int, topic: str, marked: int = MARKED) -> list[str]:
        """New documents of a topic, the first `marked` of them with their marker at both ends."""
        words, texts = TOPICS[topic].split(), []
        for place in range(count):
            self._number += 1
            draw = random.Random(f"{self.seed}:{self._number}")
            drawn = (draw.choice(words if draw.random() < 0.6 else COMMON) for _ in range(WORDS))
            text = f"{' '.join(drawn)} {self._number}"
            if place < marked:
                mark = marker(self.seed, self._number)
                text = f"{mark} {text} {mark[::-1]}"
                self.marked[content_id(text)] = self._number
            texts.append(text)
        return texts

    def _put(self, name: str, file: File) -> None:
        self.files[name] = file
        self._replace(self.root / "landing" / name, file.content(name))

    def _replace(self, path: Path, content: bytes) -> None:
        """Write a file that appears whole."""
        partial = self.root / ".partial"
        partial.write_bytes(content)
        os.replace(partial, path)
