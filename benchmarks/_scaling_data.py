"""Loss curves of the scaling benchmark: public, cut and noisy, and synthetic ones; scores of a choice."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from benchmarks._texts import read_table
from tamis.scaling.measurements import Floats

TABLES = ("flan", "gigaword")
BUDGETS = (8, 16, 32, 64, 128, 256, 512)
MODELS, NOISE = 20, 0.005
Table = dict[str, tuple[Floats, Floats]]
Losses = dict[tuple[str, float], float]


@dataclass(frozen=True, kw_only=True)
class Subset:
    """Some models of a table: true losses at full size, noisy ones everywhere, parameters of each."""

    table: str
    sizes: Floats
    truth: dict[str, float]
    seen: Losses
    parameters: dict[str, float]

    @property
    def models(self) -> list[str]:
        """Names, in order."""
        return list(self.truth)


def read(name: str, *key: str) -> pl.DataFrame:
    """A table of the public curves; exits when it is absent or damaged, or two rows have one key."""
    return read_table("scaling_laws", name, *key)


def load(name: str) -> tuple[Table, dict[str, float]]:
    """Curves with D = 0 left out, and parameters per model."""
    frame = read(name, "model", "D").filter(pl.col("D") > 0).sort("model", "D")
    curves = {
        str(key[0]): (rows["D"].to_numpy().astype(float), rows["loss"].to_numpy())
        for key, rows in frame.group_by("model", maintain_order=True)
    }
    return curves, dict(frame.select("model", pl.col("n_params").cast(pl.Float64)).unique().iter_rows())


def cut(curves: Table, limit: float) -> Table:
    """The part of every curve at sizes up to a limit."""
    return {
        model: (sizes[sizes <= limit], losses[sizes <= limit]) for model, (sizes, losses) in curves.items()
    }


def full_size(curves: Table) -> float:
    """The largest size measured."""
    return max(float(sizes[-1]) for sizes, _ in curves.values())


def full_losses(curves: Table) -> Floats:
    """Losses [m] at the largest size."""
    return np.array([losses[-1] for _, losses in curves.values()])


def scores(predicted: Floats, truth: Floats) -> dict[str, float]:
    """Pearson, Spearman, RelAcc and regret of choosing the smallest prediction."""
    ranks = [np.argsort(np.argsort(values)).astype(float) for values in (predicted, truth)]
    chosen = truth[int(np.argmin(predicted))]
    return {
        "pearson": float(np.corrcoef(predicted, truth)[0, 1]),
        "spearman": float(np.corrcoef(ranks[0], ranks[1])[0, 1]),
        "rel_acc": float((truth.max() - chosen) / np.ptp(truth)),
        "regret_percent": float(100 * (chosen / truth.min() - 1)),
    }


def noisy_subsets(subsets: int, seed: int) -> Iterator[Subset]:
    """Random 20-model subsets of both tables with 0.5 % noise on every measured loss; the truth has none."""
    for name in TABLES:
        curves, parameters = load(name)
        rng = np.random.default_rng(seed)
        for _ in range(subsets):
            models = [str(model) for model in rng.choice(list(curves), MODELS, replace=False)]
            yield Subset(
                table=name,
                sizes=curves[models[0]][0],
                truth={model: float(curves[model][1][-1]) for model in models},
                seen={
                    (model, float(size)): float(loss * np.exp(NOISE * rng.normal()))
                    for model in models
                    for size, loss in zip(*curves[model], strict=True)
                },
                parameters={model: parameters[model] for model in models},
            )


def rectified_table(
    rng: np.random.Generator, sizes: int, octaves: int, noise: float
) -> tuple[Table, float, Floats]:
    """20 random rectified laws with noise, the target size and the noise-free losses [20] there."""
    grid: Floats = 200 * 2.0 ** np.arange(sizes, dtype=np.float64)
    target = float(grid[-1] * 2**octaves)
    curves: Table = {}
    truth = np.zeros(MODELS)
    for place in range(MODELS):
        beta, floor, drop = rng.uniform(0.25, 0.9), rng.uniform(0.3, 1.5), rng.uniform(1, 4)
        delay = 10 ** rng.uniform(2.3, 5)
        clean = floor + drop / (1 + (np.append(grid, target) / delay) ** beta)
        curves[f"m{place}"] = (grid, np.asarray(clean[:-1] * np.exp(noise * rng.normal(size=sizes))))
        truth[place] = clean[-1]
    return curves, target, truth
