"""Explanations for `tamis explain`: all facts about one document, and the training documents of a checkpoint.

Explaining a document reads one row of each table and counts in one column of each score: about .2 s for
1,000,000 documents.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import Any

import polars as pl

from tamis.base.errors import NotMadeError, UnknownNameError
from tamis.base.numbers import counted, cut, percent
from tamis.corpus.quarantine import TABLE as SET_ASIDE
from tamis.corpus.small_files import TABLE as GROUPED_FILES
from tamis.corpus.small_files import paths_of_files, rows_of_files
from tamis.corpus.stage import DOCUMENTS, OCCURRENCES, TARGET_EXAMPLES
from tamis.filters.flags import IMPLAUSIBLE
from tamis.filters.form.statistics import LEAST
from tamis.graph.stages import stages
from tamis.passages.places import BEGIN, COUNT, NUMBER, PARENT, read_passages
from tamis.plugins.reading import PLUGINS
from tamis.records.current_values import CurrentValues, read_current_values
from tamis.records.listed_rows import Listing
from tamis.records.manifest import ManifestFolder
from tamis.records.published import all_published, read_decisions
from tamis.records.registered import read_registered
from tamis.retention.superseded import superseded_checkpoints
from tamis.scores.stage import PLUGIN_SCORES_STAGE
from tamis.selection.decide import OVER_GROUP
from tamis.selection.filtering import Evidence, in_words, judged_form
from tamis.selection.stage import SERVED_EXAMPLES
from tamis.selection.where import evidence_for
from tamis.settings.sections import CorpusSection, FiltersSection
from tamis.stage import Learning
from tamis.store.columns import Table
from tamis.store.home import Home
from tamis.store.schemas import declared
from tamis.store.tables import Store, one_of, quoted
from tamis.store.withdrawn import read_withdrawals
from tamis.topics.stage import TOPICS
from tamis.topics.storing import read_names
from tamis.training.stage import BASE_MODELS_STAGE, TRAINED_ON

_DECISION = [
    *("selection", "verdict", "reason", "detail", "rank", "margin", "duplicate_of"),
    *("budget_group", "training_count"),
]
_DEBIASED = ["transport_gradient", "pool_potential"]
"""Scores that got-d-debiased subtracts; other samplers leave the second null."""
_SPLITS = {"train": "for training", "held_out": "held out", "unused": "not used"}
READERS = 4
Paths = Mapping[tuple[str, str], str]
"""Paths of files as a person writes them, by the group and the name that places have."""
KINDS = {Learning.FINE_TUNED: "fine-tuned on", Learning.PRE_TRAINED: "pre-trained on"}
PLACES = ["doc_id", "shard", "row", "source", "licence"]
SHOWN = 10


def explain_document(home: Home, doc_id: str) -> dict[str, Any]:
    """Return the sources of a document, its scores and decisions, and the checkpoints trained on it.

    `superseded`: earlier checkpoints that were trained on it, where their weights are still kept.

    `serves`: for each selection that chose it the examples of its target that it serves, the most mass first;
    `share` is of the document's own mass.

    A withdrawn document has the key `withdrawn`, too, an example of a target `examples`, and one that a stage
    could not process `set_aside`; a score of a plug-in has the key `plugin`. Where the project keeps topics,
    `topic` is that of the document, with words that name it; where it judges the form of documents, `form` is
    what the model says. A decision made by a filter has `evidence`: the measured value, and the limit in the
    settings of that decision; one by got-d-debiased has `debiased`: the score and its two parts.

    A document that was split has the key `passages`: of each its id, number (from 0), `of` how many, and
    decisions; its checkpoints are those of its passages. A passage has the key `passage_of`: the documents
    that it is from, with its number, `of` how many, and where it begins and ends, in characters.
    """
    store, manifests, where = home.store, ManifestFolder.of(home), f"doc_id = {quoted(doc_id)}"
    withdrawn = read_withdrawals(store, where).to_dicts()
    examples = (
        store.read(TARGET_EXAMPLES.name, ["target", "split", "source"], where).sort("target").to_dicts()
    )
    aside = store.read(SET_ASIDE, ["stage", "reason", "detail"], where).sort("stage").to_dicts()
    current = read_current_values(store)
    decided = _decisions(store, doc_id, manifests, current)
    columns = ["shard", "row", "source"]
    split = read_passages(store, [*columns, "doc_id", NUMBER, COUNT], f"{PARENT} = {quoted(doc_id)}")
    found = pl.concat([store.read(OCCURRENCES.name, columns, where), split.select(columns)])
    places = found.unique().sort("shard", "row").to_dicts()
    read_as = sorted({doc_id, *split["doc_id"]})
    trained = one_of("doc_id", read_as)
    topic = store.read(TOPICS.name, ["topic"], where)["topic"].to_list()
    named = {"topic": topic[0], "words": read_names(store).words.get(topic[0], [])} if topic else {}
    return (
        ({"withdrawn": withdrawn[0]} if withdrawn else {})
        | ({"examples": examples} if examples else {})
        | ({"set_aside": aside} if aside else {})
        | ({"topic": named} if named else {})
        | ({"form": judged} if (judged := judged_form(store, doc_id)) else {})
        | ({"passage_of": parents} if (parents := _documents_of(store, doc_id)) else {})
        | ({"passages": _passages(store, split, manifests, current)} if len(split) else {})
        | {
            "doc_id": doc_id,
            "occurrences": _named_in_groups(store, [places])[0],
            "scores": _with_plugins(_scores(store, doc_id), manifests, current),
            "decisions": decided,
            "serves": _serves(store, doc_id, decided),
            "checkpoints": store.read(TRAINED_ON.name, ["checkpoint", "data", "training_count"], trained)
            .with_columns(pl.col("training_count").fill_null(1))
            .group_by("checkpoint", "data")
            .agg(pl.col("training_count").max())
            .sort("checkpoint")
            .to_dicts(),
        }
        | ({"superseded": earlier} if (earlier := _superseded(home, read_as, current)) else {})
    )


def _documents_of(store: Store, doc_id: str) -> list[dict[str, Any]]:
    """Return the documents that a passage is from, with its place in each."""
    end = (pl.col(BEGIN) + pl.col("n_chars")).alias("end")
    columns = ["doc_id", PARENT, NUMBER, COUNT, BEGIN]
    where = f"doc_id = {quoted(doc_id)}"
    places = read_passages(store, columns, where).drop_nulls(PARENT).unique()
    return (
        places.join(store.read(DOCUMENTS.name, ["doc_id", "n_chars"], where), on="doc_id")
        .sort(PARENT, NUMBER)
        .select(document=PARENT, number=NUMBER, of=COUNT, begin=BEGIN, end=end)
        .to_dicts()
    )


def _passages(
    store: Store, split: pl.DataFrame, manifests: ManifestFolder, current: CurrentValues
) -> list[dict[str, Any]]:
    """Return the passages of a document in its first place, in order, each with the decisions on it."""
    first = split.sort("shard", "row").select("shard", "row").head(1)
    passages = split.join(first, on=["shard", "row"]).sort(NUMBER)
    names = [name for name in _DECISION if name != "selection"]
    decided: dict[str, list[dict[str, Any]]] = {doc_id: [] for doc_id in passages["doc_id"]}
    for found in all_published(current, manifests):
        rows = pl.DataFrame(pl.from_arrow(read_decisions(store, manifests, found, ["doc_id", *names])))
        for row in rows.filter(pl.col("doc_id").is_in([*decided])).to_dicts():
            decided[row.pop("doc_id")].append({"selection": found.selection} | row)
    return [
        {"doc_id": doc_id, "number": number, "of": count, "decisions": decided[doc_id]}
        for doc_id, number, count in passages.select("doc_id", NUMBER, COUNT).iter_rows()
    ]


def _superseded(home: Home, doc_ids: Sequence[str], current: CurrentValues) -> list[dict[str, Any]]:
    """Return the superseded checkpoints that list a document as trained on, and the folder of each.

    doc_ids: its id, and those of its passages.
    """
    names = [stage.name for stage in stages().values() if stage.learning in KINDS]
    search = Listing(ManifestFolder.of(home), doc_ids)
    return [
        {"checkpoint": manifest.partition, "manifest": manifest.id, "folder": home.relative(folder)}
        for folder, manifest in superseded_checkpoints(home, current, names)
        if search.lists(manifest, TRAINED_ON.name)
    ]


def _named_in_groups(store: Store, found: Sequence[list[dict[str, Any]]]) -> list[list[dict[str, Any]]]:
    """Return places as people know them: a file of a group is a row of it, called by the file's name."""
    keys = sorted({place["shard"] for places in found for place in places})
    files = rows_of_files(store, GROUPED_FILES, ["shard", "part_of", "name"], keys)
    named = {key: {"shard": group, "row": PurePosixPath(name).name} for key, group, name in files.iter_rows()}
    return [[place | named.get(place["shard"], {}) for place in places] for places in found]


def paths_in_groups(
    store: Store, corpora: Sequence[CorpusSection], places: Sequence[Mapping[str, Any]]
) -> Paths:
    """Return the paths of the files of groups among places that an explanation names."""
    if not (groups := {place["shard"] for place in places if isinstance(place["row"], str)}):
        return {}
    files = paths_of_files(store, corpora, one_of("part_of", sorted(groups)))
    return {
        (group, PurePosixPath(name).name): path
        for group, name, path in files.select("part_of", "name", "path").iter_rows()
    }


def _place_line(place: Mapping[str, Any], paths: Paths | None, source: str = "") -> str:
    """Return a place for a person: the path of a small file, else shard and row, and the source."""
    shard, row = place["shard"], place["row"]
    if path := (paths or {}).get((shard, str(row))):
        return path
    return f"{shard}, row {row}" + (f" ({source})" if source else "")


def _decisions(
    store: Store, doc_id: str, manifests: ManifestFolder, current: CurrentValues
) -> list[dict[str, Any]]:
    decided = []
    for found in all_published(current, manifests):
        # The filters of that decision: those in tamis.toml may have changed since.
        filters = FiltersSection.model_validate(manifests.read(found.decisions).config.get("filters", {}))
        for row in read_decisions(store, manifests, found, [*_DECISION, *_DEBIASED], doc_id).to_pylist():
            parts = {name: row.pop(name) for name in _DEBIASED}
            if None not in parts.values():
                row["debiased"] = {"score": parts["transport_gradient"] - parts["pool_potential"], **parts}
            evidence = evidence_for(store, doc_id, row["reason"], row["detail"], filters)
            # Tables have null for a document that is in the training set once.
            count = row["training_count"] or int(row["verdict"] == "selected")
            decided.append(row | {"training_count": count, "evidence": evidence})
    return decided


def _serves(store: Store, doc_id: str, decided: list[dict[str, Any]]) -> list[dict[str, Any]]:
    chose = [row["selection"] for row in decided if row["verdict"] == "selected"]
    pairs = store.read(SERVED_EXAMPLES.name, where=f"doc_id = {quoted(doc_id)}")
    pairs = pairs.filter(pl.col("selection").is_in(chose))
    if pairs.is_empty():
        return []
    where = one_of("doc_id", sorted(set(pairs["example_id"])))
    known = store.read(TARGET_EXAMPLES.name, ["doc_id", "source"], where).sort("doc_id", "source")
    share = (pl.col("mass") / pl.col("mass").sum().over("selection")).alias("share")
    return (
        pairs.with_columns(share)
        .join(known.unique("doc_id", keep="first"), left_on="example_id", right_on="doc_id")
        .sort("selection", "mass", "example_id", descending=[False, True, False])
        .select("selection", "example_id", "source", "mass", "share", "cost")
        .to_dicts()
    )


def _scores(store: Store, doc_id: str) -> list[dict[str, Any]]:
    known = {table: declared(table) for table in store.names()}
    read = [(table, one) for table, one in known.items() if one and (one.scores or one.counts)]
    with ThreadPoolExecutor(READERS) as pool:
        parts = pool.map(lambda entry: _scores_of(store, entry[0], entry[1], doc_id), read)
        return [score for part in parts for score in part]


def _with_plugins(
    scores: list[dict[str, Any]], manifests: ManifestFolder, current: CurrentValues
) -> list[dict[str, Any]]:
    """Return scores, those of plug-ins with the plug-in as it was when the values were made."""
    value = current.get((PLUGIN_SCORES_STAGE.name, ""))
    if value is None:
        return scores
    config = manifests.read(value.manifest).config
    known = {one["name"]: one for one in config.get(PLUGINS, ())}
    plugins = {score: known[name] for score, name in config.get("scores", {}).items() if name in known}
    shown = ("name", "version", "file", "meaning", "citation")
    return [
        one | ({"plugin": {key: plugins[one["scorer"]][key] for key in shown}})
        if one["scorer"] in plugins
        else one
        for one in scores
    ]


def _scores_of(store: Store, table: str, known: Table, doc_id: str) -> list[dict[str, Any]]:
    """Return the scores of a document in one table, one for each score column and partition.

    Each has its percentile: the share of scored documents, in percent, whose score is not above it.
    """
    names = known.partition or known.named_by
    there, named_by = store.schema(table).names, [names] if names else []
    columns = [column for column in (*known.counts, *known.scores) if column in there]
    rows = store.read(table, [*columns, *named_by], f"doc_id = {quoted(doc_id)}")
    found = []
    for row in rows.sort(named_by or columns).iter_rows(named=True):
        scope = f"{names} = {quoted(row[names])}" if names else None
        which = f"[{row[known.partition]}]" if known.partition else ""
        for column in columns:
            value = row[column]
            if value is None or (column in known.counts and not value):
                continue
            percentile = _percentile(store, table, column, value, scope)
            scorer = row[known.named_by] if known.named_by else column + which
            found.append({"scorer": scorer, "score": float(value), "percentile": percentile})
    return found


def _percentile(store: Store, table: str, column: str, value: float, scope: str | None) -> float:
    """Return the percentile of a value among the scores of a column within a scope.

    The table counts in place, 4 ms for 1,000,000 rows. Not so for NaN and infinities, which are read and
    ordered by polars.
    """
    if not math.isfinite(value):
        column_n = store.read(table, [column], scope).drop_nulls(column)[column]
        return round(100.0 * int((column_n <= value).sum()) / len(column_n), 2)
    within = f" AND {scope}" if scope else ""
    scored = store.count(table, f"{column} IS NOT NULL{within}")
    return round(100.0 * store.count(table, f"{column} <= {value!r}{within}") / scored, 2)


def explanation_lines(
    found: dict[str, Any], begins: Mapping[str, str] | None = None, paths: Paths | None = None
) -> list[str]:
    """Return an explanation as lines for a person.

    `begins`: how the texts of some of the ids in it begin; `paths`: of the small files in it.
    """

    def with_text(doc_id: str) -> str:
        return f'{doc_id} "{begins[doc_id]}"' if begins and begins.get(doc_id) else doc_id

    lines = [f"document {with_text(found['doc_id'])}"]
    if gone := found.get("withdrawn"):
        lines.append(
            f"  withdrawn {gone['withdrawn_at']:%Y-%m-%d %H:%M} UTC, {gone['reason']}; receipt "
            f"{gone['receipt'] or 'not written yet'}"
        )
    elif not found["occurrences"] and not found.get("examples"):
        lines.append("  no longer in the pool: the files that contained the document were changed or removed")
    places = [f"found in {_place_line(row, paths, row['source'])}" for row in found["occurrences"]]
    lines += [f"  {line}" for line in cut(places, "--json", SHOWN)]
    lines += [
        f"  passage {place['number'] + 1} of {place['of']} of document {place['document']}, characters "
        f"{place['begin']:,} to {place['end']:,}"
        for place in found.get("passage_of", [])
    ]
    lines += _passage_lines(found.get("passages", []), with_text)
    lines += [
        f"  example of the target {row['target']}, {_SPLITS[row['split']]} ({row['source']})"
        for row in found.get("examples", [])
    ]
    lines += [
        f"  set aside by {row['stage']}, {row['reason'].replace('_', ' ')}: {row['detail']}"
        for row in found.get("set_aside", [])
    ]
    if (topic := found.get("topic")) is not None:
        lines.append(f"  in {topic['topic']}" + (f": {', '.join(topic['words'])}" if topic["words"] else ""))
    lines += [
        f"  {score['scorer']} = {score['score']:.5g} (percentile {score['percentile']:.1f})"
        f"{_plugin_in_words(score)}"
        for score in found["scores"]
    ]
    fell = any(row["detail"] == IMPLAUSIBLE.name for row in found["decisions"])  # the decision says it
    if (form := found.get("form")) and not fell:
        lines.append(f"  form: {_form_in_words(form)}")
    lines += [f"  {decision_line(row, with_text)}" for row in found["decisions"]]
    for selection in dict.fromkeys(row["selection"] for row in found["serves"]):
        served = [row for row in found["serves"] if row["selection"] == selection]
        lines.append(
            f"  {selection}: serves these target examples (share of the document's mass, transport cost)"
        )
        shown = [
            f"{with_text(row['example_id'])}  {percent(row['share'])}, cost {row['cost']:.2f} "
            f"({row['source']})"
            for row in served
        ]
        lines += [f"    {line}" for line in cut(shown, "--json", SHOWN)]
    for row in found["checkpoints"]:
        several = f", {row['training_count']} times" if row["training_count"] > 1 else ""
        lines.append(f"  {row['checkpoint']} was trained on this document{several}, as part of {row['data']}")
    lines += [
        f"  {row['checkpoint']} (superseded, but kept in {row['folder']}) was trained on this document"
        for row in found.get("superseded", [])
    ]
    if not found["checkpoints"] and not found.get("superseded"):
        lines.append("  no checkpoint was trained on this document")
    return lines


def _passage_lines(passages: Sequence[Mapping[str, Any]], named: Callable[[str], str]) -> list[str]:
    """Return how a document was split and what was decided on each passage, as lines for a person."""
    if not passages:
        return []
    count = passages[0]["of"]
    gone = f", of which {len(passages)} are left; the others are withdrawn" if len(passages) < count else ""
    lines = [f"  split into {count} passages{gone}"]
    decisions = [row for passage in passages for row in passage["decisions"]]
    for selection in sorted({row["selection"] for row in decisions}):
        verdicts = [row["verdict"] for row in decisions if row["selection"] == selection]
        lines.append(f"  {selection}: {verdicts.count('selected')} of {len(verdicts)} passages selected")
    shown = []
    for passage in passages:
        shown.append(f"passage {passage['number'] + 1}: {named(passage['doc_id'])}")
        shown += [f"  {decision_line(row | {'evidence': None}, named)}" for row in passage["decisions"]]
    return lines + [f"    {line}" for line in cut(shown, "--json", 3 * SHOWN)]


def _plugin_in_words(score: Mapping[str, Any]) -> str:
    """Return the plug-in that a score is of as part of a line, "" for other scores."""
    if (plugin := score.get("plugin")) is None:
        return ""
    words = [plugin["meaning"], f"({plugin['citation']})" if plugin["citation"] else ""]
    meaning = " ".join(filter(None, words))
    return f", by plug-in {plugin['name']} of {plugin['file']}, version {plugin['version']}" + (
        f": {meaning}" if meaning else ""
    )


def _form_in_words(form: Evidence) -> str:
    """Return what `judged_form` found as part of a line."""
    if form["unseen"] == "short":
        return f"not judged, since the text has under {LEAST} characters"
    if form["unseen"]:
        return f"not judged, since the model has not seen the language of the text ({form['unseen']})"
    return in_words(form)


def decision_line(row: dict[str, Any], named: Callable[[str], str] = str) -> str:
    """Return a decision with its `evidence` as a line for a person; `named`: how an id is written."""
    full = {str(reason): f"over the {per}'s budget" for per, reason in OVER_GROUP.items()}
    line = f"{row['selection']}: {row['verdict']}, {full.get(row['reason'], row['reason'].replace('_', ' '))}"
    if (row.get("training_count") or 1) > 1:
        line += f", {row['training_count']} times in the training set"
    if row["detail"] is not None:
        seen = f": {in_words(row['evidence'])}" if row["evidence"] else ""
        line += f": {row['detail']}" if row["reason"] in full else f" ({row['detail']}{seen})"
    if row["rank"] is not None:
        line += f", rank {row['rank']:,}"
    if row["margin"] is not None:
        line += f", {abs(row['margin']):.5g} {'inside' if row['margin'] >= 0 else 'outside'} the cut"
    if parts := row.get("debiased"):
        toward, own = (f"{name} {parts[name]:.5g}" for name in _DEBIASED)
        line += f", debiased score {parts['score']:.5g} ({toward} less {own})"
    return line + (f", duplicate of {named(row['duplicate_of'])}" if row["duplicate_of"] else "")


def training_documents(home: Home, checkpoint: str, configured: set[str]) -> dict[str, Any]:
    """Return the documents that a checkpoint and its base model were trained on, its own stage first.

    The form is `{checkpoint, manifest, stages: [{checkpoint, how, data, documents: [{doc_id, training_count,
    occurrences}]}]}`, with all occurrences of each document. A registered checkpoint has `registered`, too:
    its entry. `configured`: the trials and models of the project. Raises `UnknownNameError`, `NotMadeError`.
    """
    registered = {entry.checkpoint: entry for entry in read_registered(home.store)}
    if entry := registered.get(checkpoint):
        return {
            "checkpoint": checkpoint,
            "manifest": entry.manifest,
            "registered": entry.to_json(),
            "stages": _stage(home, checkpoint, KINDS[Learning.FINE_TUNED]),
        }
    current = read_current_values(home.store)
    how = {stage.name: KINDS[stage.learning] for stage in stages().values() if stage.learning in KINDS}
    made = {partition: (asset, value) for (asset, partition), value in current.items() if asset in how}
    if checkpoint in configured - made.keys():
        raise NotMadeError(checkpoint)
    if checkpoint not in made:
        raise UnknownNameError("checkpoint", checkpoint, {*made, *registered, *configured})
    asset, value = made[checkpoint]
    manifest = ManifestFolder.of(home).read(value.manifest)
    begun = [entry.partition for entry in manifest.inputs if entry.asset == BASE_MODELS_STAGE.name]
    parts = [(checkpoint, how[asset]), *((name, how[BASE_MODELS_STAGE.name]) for name in begun)]
    found = [part for name, trained in parts for part in _stage(home, name, trained)]
    return {"checkpoint": checkpoint, "manifest": value.manifest, "stages": found}


def _stage(home: Home, checkpoint: str, how: str) -> list[dict[str, Any]]:
    """Return an entry of `stages` for each kind of data that a checkpoint was trained on."""
    where = f"checkpoint = {quoted(checkpoint)}"
    seen = home.store.read(TRAINED_ON.name, ["doc_id", "data", "training_count"], where)
    blocks = home.store.by_ids(OCCURRENCES.name, seen["doc_id"].to_list(), PLACES)
    places = [pl.DataFrame(pl.from_arrow(block)) for block in blocks]
    named = pl.concat(places) if places else pl.DataFrame(schema=dict.fromkeys(PLACES, pl.String))
    groups = named.sort("shard", "row").group_by("doc_id").agg(pl.struct(PLACES[1:]).alias("occurrences"))
    joined = seen.join(groups, on="doc_id", how="left").sort("doc_id")
    joined = joined.with_columns(pl.col("occurrences").fill_null([]), pl.col("training_count").fill_null(1))
    return [
        {
            "checkpoint": checkpoint,
            "how": how,
            "data": data,
            "documents": [
                {"doc_id": doc_id, "training_count": count, "occurrences": found}
                for doc_id, count, found in zip(
                    part["doc_id"],
                    part["training_count"],
                    _named_in_groups(home.store, part["occurrences"].to_list()),
                    strict=True,
                )
            ],
        }
        for (data,), part in joined.group_by("data", maintain_order=True)
    ]


def training_lines(found: dict[str, Any], paths: Paths | None = None) -> list[str]:
    """Return training documents as lines for a person: the count and the first documents of each stage.

    `paths`: of the small files in it.
    """
    lines = [f"checkpoint {found['checkpoint']} (manifest {found['manifest'][:16]})"]
    if entry := found.get("registered"):
        export = f"{entry['selection']}@{entry['version']}"
        lines.append(f"  trained elsewhere on the export of {export}; files in {entry['folder']}")
        lines += [f"  recipe: {entry['recipe']}"] if entry["recipe"] else []
    for stage in found["stages"]:
        documents = stage["documents"]
        trained = counted(len(documents), "document")
        lines.append(f"  {stage['checkpoint']} was {stage['how']} {trained} of {stage['data']}")
        for document in documents[:SHOWN]:
            places = [_place_line(place, paths) for place in document["occurrences"]]
            several = f" ({document['training_count']} times)" if document["training_count"] > 1 else ""
            lines.append(
                f"    {document['doc_id']}{several}  {'; '.join(places) or 'an example of the target'}"
            )
        if len(documents) > SHOWN:
            lines.append(f"    and {len(documents) - SHOWN:,} more; --json lists all")
    return lines
