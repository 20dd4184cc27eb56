"""How many tokens a budget in tokens buys, recounted by the tokenizer; speed of counting: JSON lines.

    python -m benchmarks.token_budgets

Two samplers choose with the same budget from real news and questions: once in a project that names a
tokenizer, once in one that does not, where tokens are estimated as bytes / 4. Each choice is exported and
counted again. Wanted: counted choices take between 95 % of the budget and all of it.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import polars as pl

from benchmarks._flags import at_least, begin
from benchmarks._project import environment_of, in_its_folder, materialize
from benchmarks._texts import enough, read_texts
from tamis.tokens.counting import TokenCounter
from tamis.training.models import SMOLLM2

SAMPLERS = ("random", "density")
SOURCES = ("t_ag_news_train", "t_science_a")
LEAST = 0.95
TOKENIZER = f'tokenizer = "{SMOLLM2}"'
SETTINGS = """
[project]
precision = "float32"
{tokenizer}

[encoder]
name = "static"

[[corpus]]
name = "web"
kind = "files"
path = "landing"
"""


def pool(documents: int) -> pl.DataFrame:
    """Distinct texts of both sources, shuffled; exits where there are too few."""
    rows = pl.concat([read_texts(name) for name in SOURCES]).unique(maintain_order=True)
    enough(rows, documents, f"distinct texts of {' and '.join(SOURCES)}")
    return rows.sample(documents, shuffle=True, seed=0)


def choices(place: Path, texts: pl.DataFrame, budget: int, tokenizer: str) -> dict[str, list[str]]:
    """What each sampler chooses in a project of its own."""
    (place / "landing").mkdir(parents=True, exist_ok=True)
    texts.write_parquet(place / "landing" / "texts.parquet")
    text = SETTINGS.format(tokenizer=tokenizer)
    for sampler in SAMPLERS:
        text += f'\n[[selection]]\nname = "{sampler}"\nsampler = "{sampler}"\nbudget = "{budget}tok"\n'
    (place / "tamis.toml").write_text(text)
    materialize(place)
    found = {}
    for sampler in SAMPLERS:
        path = place / f"{sampler}.parquet"
        command = [sys.executable, "-m", "tamis.cli", "export", sampler, "--output", str(path)]
        subprocess.run(command, cwd=place, env=environment_of(place), stdout=sys.stderr, check=True)
        found[sampler] = pl.read_parquet(path)["text"].to_list()
    return found


def measure(flags: argparse.Namespace, place: Path) -> bool:
    """Print all figures; False where one is missed."""
    texts, counter, reached = pool(flags.documents), TokenCounter(SMOLLM2, cache=place), True
    counter.count(["loaded before it is timed"])
    started = time.perf_counter()
    counter.count(texts["text"].to_list())
    rate = len(texts) / (time.perf_counter() - started)
    line = {"benchmark": "token_budgets", "figure": "speed", "documents": len(texts)}
    print(json.dumps({**line, "documents_per_second": round(rate)}), flush=True)
    for how, tokenizer in (("counted", TOKENIZER), ("estimated", "")):
        for sampler, chosen in choices(place / how, texts, flags.budget, tokenizer).items():
            tokens = int(counter.count(chosen)[0].sum())
            line = {"benchmark": "token_budgets", "figure": "budget", "sampler": sampler, "tokens_are": how}
            line |= {"budget": flags.budget, "chosen": len(chosen), "tokens": tokens}
            if how == "counted":
                line |= {"wanted": [LEAST, 1.0], "reached": LEAST <= tokens / flags.budget <= 1.0}
                reached &= bool(line["reached"])
            print(json.dumps(line), flush=True)
    return reached


def main() -> None:
    """Print the figures; exits 1 where one is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=at_least(200), default=5_000)
    parser.add_argument("--budget", type=at_least(1_000), default=50_000, help="tokens")
    parser.add_argument("--home", type=Path, help="a folder that keeps the projects")
    sys.exit(not in_its_folder(begin(parser), measure))


if __name__ == "__main__":
    main()
