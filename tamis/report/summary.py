"""The end of `tamis materialize` in the terminal: selections and their sources, the model, the pages."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from tamis.base.numbers import counted, cut, named, percent
from tamis.base.progress import visible_name
from tamis.comparison.analysis import stored_report
from tamis.comparison.stage import SAMPLER_COMPARISON
from tamis.corpus.small_files import TABLE as GROUPED_FILES
from tamis.corpus.small_files import paths_of_files
from tamis.corpus.sources import stored_sources
from tamis.corpus.stage import DOCUMENTS, OCCURRENCES
from tamis.graph.stages import stages
from tamis.project import Project
from tamis.records.current_values import CurrentValue, read_current_values
from tamis.records.manifest import ManifestFolder
from tamis.records.published import measured_on, published, read_decisions
from tamis.report.address import INDEX
from tamis.report.choices import choice_lines, clauses_of, measures_of
from tamis.report.comparison import comparison_text
from tamis.scaling.choice import could_be_as_good
from tamis.scaling.stage import CHOICE_STAGE
from tamis.scaling.storing import loss_unit
from tamis.selection import EXCLUSIONS, Reason, find_sampler
from tamis.selection.pool import repeats, token_sizes, tokens_of
from tamis.settings.config import SelectionSection
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, one_of
from tamis.training.planned import OF_TARGETS, planned_trials, target_of_warm_up
from tamis.training.stage import TRIALS
from tamis.transport.storing import read_gaps

BEST_SHOWN, SOURCES_SHOWN, TRIALS_SHOWN = 3, 4, 10
COMPARED = {"warm_up": "Warm-up", "two_stage": "Warm-up and fine-tuning", "direct": "Fine-tuning"}


def summary(
    project: Project,
    states: Mapping[str, str] | None = None,
    unread: Sequence[str] = (),
    timed: bool = True,
) -> str:
    """A page of plain text about the present state of a project.

    `states`: of each selection. `unread`: a line on the rows that could not be read, which comes first.
    `timed`: say how long the stages took, when they were last made.
    """
    lines = ["", *unread, f"== {project.settings.project.name} ==", pool_line(project.home.store)]
    for section in project.settings.selection:
        lines += selection_lines(project, section, (states or {}).get(section.name, ""))
    lines += [*gap_lines(project), *cut(trial_lines(project), most=TRIALS_SHOWN), *model_lines(project)]
    if timed:
        lines += _time_lines(project)
    if (index := project.home.reports / INDEX).exists():
        lines.append(f"All pages: {index}")
    return "\n".join(lines)


def gap_lines(project: Project) -> list[str]:
    """Return a line for each target for which the pool lacks documents: of half of the examples or more."""
    return [
        f"{gaps.answer} `tamis gaps {gaps.target}` lists them."
        for gaps in (read_gaps(project.home.store, target.name) for target in project.settings.target)
        if len(gaps.lacking) and 2 * len(gaps.lacking) >= len(gaps.gaps.supply_m)
    ]


def pool_line(store: Store) -> str:
    """Return how many documents there are, and from how many shards."""
    files = store.read(OCCURRENCES.name, ["shard"]).unique()
    keys = files.join(store.read(GROUPED_FILES, ["shard", "part_of"]), on="shard", how="left").select(
        pl.coalesce("part_of", "shard")
    )
    shards = keys["part_of"].n_unique()
    return (
        f"Pool: {counted(store.count(DOCUMENTS.name), 'distinct document')} from {counted(shards, 'shard')}; "
        f"{counted(len(repeats(store)), 'near-duplicate')} set aside."
    )


def selection_lines(project: Project, section: SelectionSection, state: str = "") -> list[str]:
    """Return what a selection chose, from where, why it dropped the others, its best documents, its page."""
    store, folder = project.home.store, ManifestFolder.of(project.home)
    found = published(read_current_values(store), folder, section.name)
    if found is None:
        return [f"Selection {section.name}: not made yet."]
    columns = ["doc_id", "verdict", "reason", "rank", "margin"]
    decided = pl.DataFrame(pl.from_arrow(read_decisions(store, folder, found, columns)))
    chosen = decided.filter(pl.col("verdict") == "selected").sort("rank")
    reasons = (
        decided.filter(pl.col("verdict") == "rejected").group_by("reason").len().sort("len", descending=True)
    )
    notes = {Reason.NEAR_DUPLICATE.value: _near_duplicates(decided, repeats(store))}
    dropped = ", ".join(
        f"{count:,} {reason.replace('_', ' ')}{notes.get(reason, '')}"
        for reason, count in reasons.iter_rows()
    )
    size = f"{counted(len(chosen), 'document')} of {len(decided):,}{f', {state}' if state else ''}"
    tokens = tokens_of(token_sizes(store), chosen)
    lines = [
        f"Selection {section.name}: {size}; {tokens.words}. {find_sampler(section.sampler).description}",
        f"  from {_mix(store, chosen['doc_id'].to_list())}; dropped: {dropped or 'nothing'}",
    ]
    best = chosen.head(BEST_SHOWN)
    places = first_places(project, best["doc_id"].to_list())
    for doc_id, rank, margin in best.select("doc_id", "rank", "margin").iter_rows():
        cut_off = "" if margin is None else f"; {margin:.4g} inside the cut"
        lines.append(f"  #{rank} {doc_id[:12]}, {places.get(doc_id, '')}{cut_off}")
    page = project.home.reports / f"selection_{section.name}.html"
    return [*lines, f"  page: {page}"] if page.exists() else lines


def _near_duplicates(decided: pl.DataFrame, near: pl.DataFrame) -> str:
    """Return what became of the other near-duplicates of the pool, "" where all have this one reason."""
    others = decided.join(near, on="doc_id", how="semi").filter(pl.col("reason") != Reason.NEAR_DUPLICATE)
    first = len(others.filter(pl.col("reason").is_in([*EXCLUSIONS])))
    parts = (
        [f"{first:,} {'is' if first == 1 else 'are'} dropped for a reason that comes first"] if first else []
    )
    if heirs := len(others) - first:
        parts.append(f"{heirs:,} {'takes' if heirs == 1 else 'take'} the place of one that may not be chosen")
    return f" (of the pool's other near-duplicates, {' and '.join(parts)})" if parts else ""


def first_places(project: Project, doc_ids: list[str]) -> dict[str, str]:
    """Return the first place of each document, for a person: the path of a small file, else shard and row."""
    store = project.home.store
    rows = store.read(OCCURRENCES.name, ["doc_id", "shard", "row", "source"], one_of("doc_id", doc_ids))
    first = rows.sort("shard", "row").unique("doc_id", keep="first", maintain_order=True)
    scope = one_of("shard", first["shard"].to_list())
    small = paths_of_files(store, project.settings.corpus, scope).select("shard", "path")
    paths: dict[str, str] = dict(small.iter_rows())
    return {
        doc_id: f"found in {visible_name(path)}"
        if (path := paths.get(shard))
        else f"found in {shard}, row {row} ({visible_name(source)})"
        for doc_id, source, shard, row in first.select("doc_id", "source", "shard", "row").iter_rows()
    }


def _mix(store: Store, doc_ids: list[str]) -> str:
    """Return the sources with most of these documents, as shares."""
    if not doc_ids:
        return "no source"
    chosen = stored_sources(
        store, store.read(OCCURRENCES.name, ["doc_id", "shard", "source"]), pl.Series(doc_ids)
    )
    counts = chosen.group_by("source").len().sort(["len", "source"], descending=[True, False])
    return named(
        [
            f"{visible_name(source)} {percent(count / len(doc_ids), 0)}"
            for source, count in counts.iter_rows()
        ],
        SOURCES_SHOWN,
    )


def trial_lines(project: Project) -> list[str]:
    """Return what the choice bought: warm-ups, and what was trained after or without them, by target.

    Only trials that tamis.toml asks for, measured on the target that it asks for now.
    """
    store = project.home.store
    measured = measured_on(read_current_values(store), ManifestFolder.of(project.home))
    asked = {
        trial.name: trial.data if trial.kind in OF_TARGETS else target_of_warm_up(project, trial.data)
        for trial in planned_trials(project)
        if trial.kind in COMPARED
    }
    rows = store.read(TRIALS.name, schema_of(TRIALS.name).names).to_dicts()
    for row in rows:
        row["target"] = measured.get(row["trial"], asked.get(row["trial"]))
    current = [row for row in rows if row["trial"] in asked and row["target"] == asked[row["trial"]]]
    several = len({row["target"] for row in current}) > 1
    elsewhere = measures_of(store)
    return [
        f"{COMPARED[row['kind']]} of {row['model']} on {row['data']}"
        + (f", measured on {row['target']}" if several else "")
        + f": {_outcome(row)}{clauses_of(elsewhere.get(row['trial'], ()))}"
        + f" ({row['size']:,} documents, {row['tokens']:,} tokens)"
        for row in sorted(current, key=_order)
    ]


def _order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Trials of a target together, the kinds in the order in which they are trained, the best first."""
    loss = row["held_out_bits_per_byte"]
    return row["target"], list(COMPARED).index(row["kind"]), loss is None, loss or 0.0, row["trial"]


def _outcome(row: Mapping[str, Any]) -> str:
    if row["accuracy"] is not None:
        usual = f" ({row['majority_accuracy']:.3f} by always predicting the most frequent label)"
        return f"held-out accuracy {row['accuracy']:.3f}{usual}, macro F1 {row['macro_f1']:.3f}"
    if row["held_out_bits_per_byte"] is None:
        return "no accuracy yet: accuracy is measured after fine-tuning on the labels"
    steps = [row["zero_shot_bits_per_byte"], row["warm_up_bits_per_byte"], row["held_out_bits_per_byte"]]
    shown = " -> ".join(f"{one:.3f}" for one in steps if one is not None)
    low, high = row["held_out_low"], row["held_out_high"]
    interval = "" if low is None or high is None else f" (95 % interval: {low:.2f} to {high:.2f})"
    return f"held-out target loss {shown} bits per byte{interval}"


def model_lines(project: Project) -> list[str]:
    """Return which model to take, a line for each target; nothing before there is a choice."""
    head = read_current_values(project.home.store).get((CHOICE_STAGE.name, ""))
    if head is None:
        return []
    choices = read_choices(project, head)
    return [_model_line(project, choice, len(choices) > 1) for choice in choices]


def _model_line(project: Project, choice: Mapping[str, Any], several: bool) -> str:
    of_target = f" for {choice['target']}" if several else ""
    if choice["model"] is None:
        return (
            f"Model{of_target}: none, since no loss curve allows a prediction; see the page "
            f"scaling_law_{choice['target']}.html."
        )
    share = choice["cost_share"]
    cost = f"{percent(share, 0)} of training every model at that size" if share is not None else "unknown"
    return (
        f"Model{of_target}: {choice['model']}, predicted {choice['predicted_loss']:.3f} "
        f"{loss_unit(project, choice['target'])} at {choice['predict_at']} target documents"
        f"{_doubt(choice)}; cost of finding this model: {cost}."
    )


def _doubt(choice: Mapping[str, Any]) -> str:
    """The interval of the chosen model, and who else could be best."""
    intervals = {name: (found["low"], found["high"]) for name, found in choice["predictions"].items()}
    low, high = intervals[choice["model"]]
    if high is None:
        return " (too few sizes for an interval)"
    rivals = could_be_as_good(choice["model"], intervals)
    unsettled = f"; {' and '.join(rivals)} could be as good" if rivals else ""
    return f" (90 % interval: {low:.2f} to {high:.2f}{unsettled})"


def read_choices(project: Project, head: CurrentValue) -> list[dict[str, Any]]:
    """The model choices that a head names, a target each."""
    folder = project.home.fitted / CHOICE_STAGE.name / "all" / head.input_key[:16]
    return [json.loads(path.read_text()) for path in sorted(folder.glob("choice*.json"))]


def _time_lines(project: Project) -> list[str]:
    """Return the seconds per group, by the unhashed part of the manifests."""
    folder = ManifestFolder.of(project.home)
    seconds: dict[str, float] = defaultdict(float)
    for head in read_current_values(project.home.store).values():
        spent = float(folder.read(head.manifest).beside["seconds"])
        seconds[head.asset] = max(seconds[head.asset], spent)
    groups: dict[str, float] = defaultdict(float)
    for asset, spent in seconds.items():
        if asset in stages():
            groups[stages()[asset].group] += spent
    shown = ", ".join(f"{group} {spent:.0f} s" for group, spent in groups.items())
    return [f"Duration of each stage's last run, totalled by stage group: {shown}."]


def comparison_lines(project: Project) -> list[str]:
    """The sampler comparison as text."""
    frame = project.home.store.read(SAMPLER_COMPARISON.name).sort("sampler_a", "sampler_b")
    wide = max(16, 2 + max((len(name) for name in frame["sampler_a"]), default=0))
    lines = [f"{'sampler':{wide}}{'compared with':{wide}}{'overlap':>10}{'Kendall':>10}"]
    for row in frame.filter(pl.col("sampler_a") < pl.col("sampler_b")).iter_rows(named=True):
        tau = f"{row['kendall_tau']:.2f}" if row["kendall_tau"] is not None else "-"
        names = f"{row['sampler_a']:{wide}}{row['sampler_b']:{wide}}"
        lines.append(f"{names}{row['jaccard']:>10.2f}{tau:>10}")
    lines += [*_trained_lines(project), f"page: {project.home.reports / 'sampler_comparison.html'}"]
    choices = choice_lines(project)
    return [*lines, "", *choices] if choices else lines


def _trained_lines(project: Project) -> list[str]:
    if project.settings.sampler_trials.model is None:
        return [
            "",
            "to train a model on each sampler's choice as well, add [sampler_trials] to tamis.toml; "
            "see docs/settings.md",
        ]
    return ["", *comparison_text(stored_report(project.home.store, project.settings, project.seed))]
