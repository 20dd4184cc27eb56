"""The rectified law on curves that the graph trains itself: JSON lines, and a picture with --picture.

    python -m benchmarks.own_curves --home F --picture own-curves.png

Six models: three presets, each as it is after a tenth of its pre-training and at its end. Two targets: news
(AG News) and comments (GoEmotions). Each model is fine-tuned on subsets of nine sizes of each, from 25 to
6,400 examples; the loss is that of 1,000 others, in bits per byte. Printed:

- curve: of each model the fitted law, how far off it is next to the vanilla one, where its first phase ends
  (`pre_learned_examples`), and the slope of log loss over the first and the last octave;
- ahead: losses one and two octaves beyond what a method saw, against the measured ones: relative error,
  correlation, and the loss of the model it would choose above that of the best;
- search: Accept-then-Stop, the budgeted search and plain halving on the measured losses, at two budgets: the
  model, what it costs in loss and the share of the cost of full tuning.

Exits 0 whatever it says: these are findings. With --home it goes on where it stopped.
"""

import argparse
import json
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks._flags import at_least, begin
from benchmarks._project import in_its_folder, made_once, materialize
from benchmarks._real_graph import report
from benchmarks._real_pool import PoolShares, write_pool
from benchmarks._real_tasks import hashes
from benchmarks._scaling_data import Subset, Table, cut, full_losses, scores
from benchmarks._scaling_searches import SEARCHES
from benchmarks._texts import read_texts
from tamis.scaling import LawFit, fit_law, predict_full_loss
from tamis.scaling.methods import METHODS
from tamis.store.home import Home
from tamis.training import PRESETS, preset_shape
from tamis.training.loop import checkpoint_folder

NAME = "own_curves"
MODELS = ("llama-0.3m", "llama-0.8m", "llama-2.5m")
EARLY, PRETRAINING = 0.1, "pretraining"
TARGETS = {"news": "t_ag_news_train", "comments": "t_goemotions"}
SIZES = tuple(25 * 2**octave for octave in range(9))
HELD_OUT, BUDGETS, AHEAD = 1_000, (0.1, 0.3), (1, 2)
SETTINGS = """
[project]
name = "own-curves"

[[corpus]]
name = "pool"
kind = "files"
path = "{pool}"
text_column = "text"

[pretraining]
tokens = {tokens}
"""
PRESET = """
[[base_model]]
name = "{name}"
preset = "{preset}"
checkpoints = [{early}]
"""
STORED = """
[[base_model]]
name = "{name}"
path = "{path}"
"""
LAW = """
[[target]]
name = "{target}"
kind = "files"
path = "{target}.parquet"
text_column = "text"
train = {train}
held_out = {held_out}
"""
SCALING = """
[scaling]
target = {targets}
models = {models}
sizes = {sizes}
"""


def write_target(file: str, rows: int, path: Path) -> None:
    """Write distinct texts of a file, in an order that a hash of the text decides."""
    texts = read_texts(file).unique("text")
    ordered = texts.with_columns(order=pl.Series(hashes(texts["text"].to_list()))).sort("order")
    ordered.head(rows).select("text").write_parquet(path)


def pretrained(folder: Path, flags: argparse.Namespace) -> dict[str, str]:
    """Pre-train the presets in a project of their own; the folders of the six models, by name."""
    write_pool(folder / "pool", folder / "truth.parquet", flags.documents, PoolShares(), 0)
    names = {preset.replace(".", "-"): preset for preset in MODELS}
    text = SETTINGS.format(pool="pool", tokens=flags.pretraining_tokens)
    text += "".join(PRESET.format(name=name, preset=names[name], early=EARLY) for name in names)
    (folder / "tamis.toml").write_text(text)
    materialize(folder)
    found: dict[str, str] = {}
    for name in names:
        versions = (Home(folder / ".tamis").checkpoints / "base_models" / name).iterdir()
        model = max(versions, key=lambda version: version.stat().st_mtime)
        found |= {f"{name}-early": str(checkpoint_folder(model, EARLY)), f"{name}-late": str(model)}
    return found


def measured(folder: Path, models: dict[str, str], flags: argparse.Namespace) -> dict[str, Table]:
    """Fine-tune every model at every size by the graph; the curves of each target, from size 0."""
    text = SETTINGS.format(pool=f"{PRETRAINING}/pool", tokens=flags.pretraining_tokens)
    text += "".join(STORED.format(name=name, path=path) for name, path in models.items())
    rows = 2 * (SIZES[-1] + HELD_OUT)  # near-duplicates go to one side of the split
    for target, file in TARGETS.items():
        made_once(folder / f"{target}.parquet", {"rows": rows}, partial(write_target, file, rows))
        text += LAW.format(target=target, train=SIZES[-1], held_out=HELD_OUT)
    lists = {"targets": list(TARGETS), "models": list(models), "sizes": list(SIZES)}
    text += SCALING.format(**{name: json.dumps(value) for name, value in lists.items()})
    (folder / "tamis.toml").write_text(text)
    materialize(folder)
    rows_of = Home(folder / ".tamis").store.read("loss_curves")
    return {
        str(target): {
            str(model): (one["size"].to_numpy().astype(float), one["loss"].to_numpy())
            for (model,), one in of_target.sort("model", "size").group_by("model", maintain_order=True)
        }
        for (target,), of_target in rows_of.sort("target").group_by("target", maintain_order=True)
    }


def _slope(sizes: np.ndarray, losses: np.ndarray) -> float:
    return float(np.diff(np.log(losses))[0] / np.diff(np.log(sizes))[0])


def print_curves(target: str, curves: Table) -> None:
    """What the law says of each model, and whether both phases are in its curve."""
    for model, (sizes, losses) in curves.items():
        fits: dict[str, LawFit] = {law: fit_law(law, sizes, losses) for law in ("rectified", "vanilla")}
        bend = fits["rectified"].pre_learned_examples
        report(
            NAME,
            "curve",
            target=target,
            model=model,
            losses=[round(float(loss), 4) for loss in losses],
            rmsd=fits["rectified"].rmsd,
            rmsd_vanilla=fits["vanilla"].rmsd,
            pre_learned_examples=bend,
            parameters={name: round(value, 4) for name, value in fits["rectified"].parameters.items()},
            first_slope=_slope(sizes[:2], losses[:2]),
            last_slope=_slope(sizes[-2:], losses[-2:]),
            both_phases=bool(sizes[0] < bend < sizes[-1]),
        )


def print_ahead(target: str, curves: Table) -> None:
    """Predictions against what was measured, at the largest size and an octave below."""
    for octaves in AHEAD:
        for end in SIZES[-2:]:
            whole = cut(curves, end)
            truth = full_losses(whole)
            for method in METHODS:
                found = predict_full_loss(cut(whole, end / 2**octaves), end, method)  # type: ignore[arg-type]
                predicted = np.array([found[model].loss for model in whole])
                inside = [
                    one.low <= loss <= one.high for one, loss in zip(found.values(), truth, strict=True)
                ]
                error = np.abs(predicted / truth - 1)
                report(
                    NAME,
                    "ahead",
                    target=target,
                    method=method,
                    octaves=octaves,
                    size=end,
                    error=float(error.mean()),
                    worst_error=float(error.max()),
                    inside=float(np.mean(inside)),
                    **scores(predicted, truth),
                )


def print_searches(target: str, curves: Table) -> None:
    """What each search would have chosen of these runs, and what that costs."""
    names = [name.replace(".", "-") for name in MODELS]
    sizes_of = {
        name: preset_shape(preset, PRESETS[preset].vocabulary).parameters
        for name, preset in zip(names, MODELS, strict=True)
    }
    truth = {model: float(losses[-1]) for model, (_, losses) in curves.items()}
    parameters = {model: float(sizes_of[model.rpartition("-")[0]]) for model in curves}
    seen = {
        (model, float(size)): float(loss)
        for model, curve in curves.items()
        for size, loss in zip(*curve, strict=True)
    }
    subset = Subset(table=target, sizes=np.array(SIZES, float), truth=truth, seen=seen, parameters=parameters)
    best, span = min(truth.values()), max(truth.values()) - min(truth.values())
    for share in BUDGETS:
        for name, search in SEARCHES.items():
            chosen, spent = search(subset, parameters, share)
            report(
                NAME,
                "search",
                target=target,
                search=name,
                budget=share,
                model=chosen,
                regret_percent=100 * (truth[chosen] / best - 1),
                rel_acc=1 - (truth[chosen] - best) / span,
                spent=spent,
            )


def draw(found: dict[str, Table], path: Path) -> None:
    """Write the curves with their fitted laws; hollow points are what the law did not see."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(found), 4), layout="constrained")
    axes = figure.subplots(1, len(found))
    for axis, (target, curves) in zip(np.atleast_1d(axes), found.items(), strict=True):
        for place, (model, (sizes, losses)) in enumerate(curves.items()):
            known = sizes <= sizes[-1] / 4
            grid = np.geomspace(sizes[0], sizes[-1], 100)
            colour = f"C{place}"
            axis.plot(grid, fit_law("rectified", sizes[known], losses[known]).predict(grid), color=colour)
            axis.plot(sizes[known], losses[known], "o", color=colour, label=model)
            axis.plot(sizes[~known], losses[~known], "o", color=colour, mfc="none")
        axis.set(xscale="log", yscale="log", title=target, xlabel="examples", ylabel="bits per byte")
        axis.yaxis.set_major_formatter("{x:.1f}")
        axis.yaxis.set_minor_formatter("{x:.1f}")
    np.atleast_1d(axes)[0].legend(fontsize=8)
    figure.savefig(path, dpi=110)


def run(flags: argparse.Namespace, folder: Path) -> None:
    """Pre-train, fine-tune, print, draw."""
    found = measured(folder, pretrained(folder / PRETRAINING, flags), flags)
    tuned = {
        target: {model: (sizes[sizes > 0], losses[sizes > 0]) for model, (sizes, losses) in curves.items()}
        for target, curves in found.items()
    }
    for target, curves in found.items():
        print_curves(target, tuned[target])
        print_ahead(target, curves)  # the zero-shot loss is the prediction of one method
        print_searches(target, tuned[target])
    if flags.picture:
        draw(tuned, flags.picture)


def main() -> None:
    """Run the benchmark and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=at_least(100), default=20_000, help="in the pool")
    parser.add_argument("--pretraining-tokens", type=at_least(1), default=3_000_000)
    parser.add_argument("--picture", type=Path, help="where a picture of the curves is written")
    parser.add_argument("--home", type=Path, help="project folder to use and keep")
    flags = begin(parser)
    in_its_folder(flags, run)


if __name__ == "__main__":
    main()
