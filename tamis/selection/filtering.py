"""Filters as exclusions: which documents the rules of [filters] keep out, each with the rule it breaks."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from tamis.base.numbers import counted, named
from tamis.base.progress import visible_name
from tamis.corpus.small_files import group_of_files
from tamis.corpus.sources import NOTES, with_corpora
from tamis.corpus.stage import DOCUMENTS, OCCURRENCES
from tamis.filters import COUNTS, FAMILIES, forbidden_by_licence, forbidden_by_source, source_rule
from tamis.filters.boilerplate import MEASURES, REPEATED, repeated_share
from tamis.filters.flags import (
    FORM,
    IMPLAUSIBLE,
    broken_heuristic,
    too_much_personal_data,
    wrong_language,
)
from tamis.filters.form.storing import broken_goal_lines, read_form, unusual_statistics
from tamis.filters.language import stated_code
from tamis.filters.licences import DENIED, NOT_ALLOWED
from tamis.filters.stage import FORM_SCORES
from tamis.filters.storing import TABLE
from tamis.selection.decide import Reason
from tamis.selection.keep_out import SHORTEST, WINDOW, shared_words
from tamis.settings.config import Settings
from tamis.settings.language_codes import counted_as, is_known
from tamis.settings.sections import FiltersSection
from tamis.store.tables import Store, quoted

_EMPTY = {"doc_id": pl.String, "reason": pl.String, "detail": pl.String}
_FLAGS = ["doc_id", "broken", "detected_language", "language_confidence", *COUNTS]
Evidence = dict[str, Any]
_RULES = {rule.name: rule for rules in FAMILIES.values() for rule in rules}
LONGEST_SHOWN, VALUES_SHOWN = 30, 5
_LOOK = (
    "look at some of them on the selection's page of documents, and if they are sound, set "
    'heuristics_off = ["{rule}"] in [filters]'
)
FILES_LOST = "files_lost"
"""Name of the lines in the event and the manifest of a selection."""
LEAST_DOCUMENTS, LEAST_WHOLE = 20, 5
"""Documents of a corpus or file of which a loss is said, and of a file that loses all of them to rules."""
MUCH_OF_A_CORPUS = 0.2
"""Share of a corpus from which it is said that one rule drops it, or says nothing about it."""
LOST_AS: dict[str, tuple[str, str]] = {
    Reason.NEAR_DUPLICATE: (
        "near-duplicates of other documents",
        "if these differ in what matters, raise threshold in [near_duplicates]",
    ),
    Reason.CONTAMINATED: (
        "contaminated: they share long word sequences with held-out examples of a target",
        "if these say nothing of the examples, raise ngram in [decontamination]",
    ),
    Reason.KEEP_OUT: (
        "kept out: they repeat rows of a benchmark",
        "if the file is the benchmark itself, take it out of the corpus",
    ),
    Reason.HEURISTIC: (
        "dropped by a rule of form",
        "`tamis explain DOC_ID` names the rule, and heuristics_off in [filters] turns it off",
    ),
    Reason.LANGUAGE: ("in another language than those wanted", "languages in [filters] says which are"),
    Reason.PERSONAL_DATA: ("dropped for personal data", "personal_data_limit in [filters] allows more"),
    Reason.HELD_OUT_EXAMPLE: (
        "held-out examples of a target",
        "take the examples out of the corpus, or other examples for the target",
    ),
    Reason.TARGET_EXAMPLE: (
        "training examples of a target",
        "take the examples out of the corpus, or other examples for the target",
    ),
    **dict.fromkeys(
        (Reason.JUDGE_REFUSED, Reason.MODEL_FAILED, Reason.NO_VECTOR),
        ("without a score", "`tamis status` says why, under quarantine"),
    ),
    Reason.NO_SCORE: ("without a score", "`tamis explain DOC_ID` names the score that they lack"),
}
"""What documents with a reason are, and what to do; none for what somebody asked to leave out by name."""


_CURES = {
    Reason.HEURISTIC: _LOOK,
    **{reason: LOST_AS[reason][1] for reason in (Reason.LANGUAGE, Reason.PERSONAL_DATA)},
}
"""Advice where one rule drops much of a corpus."""


def rules_of_flags(filters: FiltersSection) -> dict[str, Any]:
    """The settings by which stored flags exclude documents; empty when none is excluded by them."""
    kept: set[str] = set()
    if filters.heuristics:
        kept |= {"heuristics", "heuristics_off"}
    if filters.languages:
        kept |= {"languages", "language_from", "language_confidence"}
    if filters.personal_data == "exclude":
        kept |= {"personal_data", "personal_data_limit"}
    return filters.model_dump(include=kept)


def rules_of_licences(filters: FiltersSection) -> dict[str, Any]:
    """The settings by which licences exclude documents; empty when none does."""
    restricted = filters.licences_allowed or filters.licences_denied or filters.unknown_licence == "exclude"
    return (
        filters.model_dump(include={"licences_allowed", "licences_denied", "unknown_licence"})
        if restricted
        else {}
    )


def rules_of_sources(filters: FiltersSection) -> dict[str, Any]:
    """The settings by which sources exclude documents; empty when none does."""
    restricted = filters.sources_allowed or filters.sources_denied
    return filters.model_dump(include={"sources_allowed", "sources_denied"}) if restricted else {}


def form_excludes(filters: FiltersSection) -> bool:
    """Return whether documents are kept out by the model of form."""
    return FORM in filters.heuristics and IMPLAUSIBLE.name not in filters.heuristics_off


def filtered(store: Store, filters: FiltersSection) -> pl.DataFrame:
    """doc_id, reason and detail (the rule) of every document that a filter excludes, once for each reason."""
    found = [pl.DataFrame(schema=_EMPTY)]
    if rules_of_licences(filters) or rules_of_sources(filters):
        places = with_corpora(store, store.read(OCCURRENCES.name, ["doc_id", "source", "shard", "licence"]))
        sources, rule = (filters.sources_allowed, filters.sources_denied), pl.col("rule")
        # Licences are of those places whose source is allowed: no other lends its licence.
        licensed = forbidden_by_licence(
            places.filter(source_rule(*sources).is_null()),
            filters.licences_allowed,
            filters.licences_denied,
            filters.unknown_licence,
        )
        found.append(_excluded(forbidden_by_source(places, *sources), Reason.SOURCE, rule))
        found.append(_excluded(licensed, Reason.LICENCE, rule))
    if rules_of_flags(filters):
        stated = stated_languages(store.read(OCCURRENCES.name, ["doc_id", "language"]), filters.languages)
        flags = store.read(TABLE, _FLAGS).join(stated, on="doc_id")
        found += [_excluded(flags, reason, rule) for reason, rule in _rules(filters).items()]
    if "boilerplate" in filters.heuristics and REPEATED.name not in filters.heuristics_off:
        broken = pl.when(REPEATED.broken).then(pl.lit(REPEATED.name))
        found.append(_excluded(repeated(store), Reason.HEURISTIC, broken))
    if form_excludes(filters):  # a rule that says what it found comes before the model
        named = pl.concat(found).filter(reason=str(Reason.HEURISTIC))
        found.append(
            _excluded(
                implausible(store).join(named, on="doc_id", how="anti"),
                Reason.HEURISTIC,
                pl.lit(IMPLAUSIBLE.name),
            )
        )
    return pl.concat(found)


def implausible(store: Store) -> pl.DataFrame:
    """Return doc_id of documents whose form is less plausible than the limit of the project's targets."""
    known = read_form(store)
    scores = store.read(FORM_SCORES.name, ["doc_id", "form_logit"])
    limit = pl.lit(None if known is None else known.limit, dtype=pl.Float64)
    return scores.with_columns(form_limit=limit).filter(IMPLAUSIBLE.broken).select("doc_id")


def repeated(store: Store) -> pl.DataFrame:
    """doc_id and how much of it many documents of the pool say in the same words."""
    sizes = store.read(DOCUMENTS.name, ["doc_id", "n_chars"])
    return repeated_share(store.read(TABLE, ["doc_id", *MEASURES]).join(sizes, on="doc_id"))


def stated_languages(places: pl.DataFrame, wanted: Sequence[str]) -> pl.DataFrame:
    """doc_id and the language that its places (doc_id, language) state: a wanted one where any place does.

    Else the first code by the alphabet, so that it does not matter which place came first; null without any.
    """
    codes = places.select("doc_id", language=stated_code(pl.col("language")))
    first = (~pl.col("language").is_in(counted_as(wanted)), pl.col("language"))
    return codes.sort("doc_id", *first, nulls_last=True).unique("doc_id", keep="first", maintain_order=True)


def _rules(filters: FiltersSection) -> dict[Reason, pl.Expr]:
    rules = {}
    if filters.personal_data == "exclude":
        rules[Reason.PERSONAL_DATA] = too_much_personal_data(filters.personal_data_limit)
    if filters.languages:
        rules[Reason.LANGUAGE] = wrong_language(
            filters.languages, filters.language_from, filters.language_confidence
        )
    if filters.heuristics:
        rules[Reason.HEURISTIC] = broken_heuristic(filters.heuristics, filters.heuristics_off)
    return rules


def _excluded(rows: pl.DataFrame, reason: Reason, rule: pl.Expr) -> pl.DataFrame:
    return rows.select("doc_id", reason=pl.lit(str(reason)), detail=rule.cast(pl.String)).drop_nulls("detail")


def with_heirs(near: pl.DataFrame, excluded: pl.DataFrame, filtered_out: pl.DataFrame) -> pl.DataFrame:
    """Near-duplicates (doc_id, duplicate_of) when filters exclude some of the documents they yield to.

    Of those that yield to such a document, the smallest doc_id that nothing excludes steps in its place.
    """
    orphaned = near.filter(pl.col("duplicate_of").is_in(filtered_out["doc_id"].implode()))
    free = orphaned.join(excluded, on="doc_id", how="anti")
    heirs = free.group_by("duplicate_of").agg(pl.col("doc_id").min().alias("heir"))
    inherited = near.join(heirs, on="duplicate_of", how="left")
    return inherited.filter(pl.col("heir").is_null() | (pl.col("doc_id") != pl.col("heir"))).select(
        "doc_id", pl.coalesce("heir", "duplicate_of").alias("duplicate_of")
    )


def evidence_of(
    store: Store, doc_id: str, reason: str, rule: str | None, filters: FiltersSection
) -> Evidence | None:
    """`measured` (name to value) and `allowed` (in words) for a reason that filters give, else None.

    filters: the settings that the decision was made with.
    """
    find = _FOUND.get(reason)
    return find(store, doc_id, rule, filters) if find and rule else None


def in_words(evidence: Evidence) -> str:
    """As part of a sentence: "hash_ratio = 0.34, allowed is at most 0.1"."""
    measured = ", ".join(f"{name} = {_shown(value)}" for name, value in evidence["measured"].items())
    return f"{measured}; allowed: {evidence['allowed']}"


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join("unknown" if one is None else str(one) for one in value) or "unknown"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _flags(store: Store, doc_id: str) -> dict[str, Any]:
    return next(iter(store.read(TABLE, where=f"doc_id = {quoted(doc_id)}").to_dicts()), {})


def _heuristic(store: Store, doc_id: str, rule: str | None, filters: FiltersSection) -> Evidence | None:
    found = _RULES.get(str(rule))
    if found is None:
        return None
    if found is IMPLAUSIBLE:
        return _form(store, doc_id)
    if found.of_pool:
        shares = dict(repeated(store).filter(pl.col("doc_id") == doc_id).iter_rows())
        return {"measured": {found.column: shares.get(doc_id)}, "allowed": found.allowed}
    return {"measured": {found.column: _flags(store, doc_id).get(found.column)}, "allowed": found.allowed}


def _form(store: Store, doc_id: str) -> Evidence:
    rows = store.read(FORM_SCORES.name, ["form_logit", "form_reasons"], f"doc_id = {quoted(doc_id)}")
    row, known = next(iter(rows.to_dicts()), {}), read_form(store)
    return {
        "measured": {"form_logit": row.get("form_logit"), "unusual": _listed(row.get("form_reasons"))},
        "allowed": f"at most {known.limit_in_words}" if known else IMPLAUSIBLE.allowed,
    }


def _listed(reasons: str | None) -> list[str]:
    return reasons.split(", ") if reasons else []


def judged_form(store: Store, doc_id: str) -> Evidence | None:
    """Return what the model of form says of a document, as evidence, None where nothing was judged.

    The statistics are there for a document under the limit, too. `unseen`: its language, where the model has
    not seen it and says nothing, "short" for a short text.
    """
    rows = store.read(FORM_SCORES.name, ["form_logit", "form_language"], f"doc_id = {quoted(doc_id)}")
    known = read_form(store)
    if rows.is_empty() or known is None:
        return None
    unusual = unusual_statistics(store, known, [doc_id])["form_reasons"].to_list()
    found = _form(store, doc_id)
    found["measured"]["unusual"] = _listed(next(iter(unusual), None))
    return found | {"unseen": None if rows["form_logit"][0] is not None else rows["form_language"][0]}


def _licence(store: Store, doc_id: str, rule: str | None, filters: FiltersSection) -> Evidence:
    places = store.read(OCCURRENCES.name, ["licence"], f"doc_id = {quoted(doc_id)}")["licence"]
    allowed = {
        DENIED: f"none of {', '.join(filters.licences_denied)}",
        NOT_ALLOWED: f"one of {', '.join(filters.licences_allowed)}",
    }
    return {
        "measured": {"licences": places.unique().sort(nulls_last=True).to_list()},
        "allowed": allowed.get(str(rule), "any stated licence"),
    }


def _language(store: Store, doc_id: str, rule: str | None, filters: FiltersSection) -> Evidence:
    flags = _flags(store, doc_id)
    places = store.read(OCCURRENCES.name, ["doc_id", "language"], f"doc_id = {quoted(doc_id)}")
    allowed = f"one of {', '.join(filters.languages)}"
    if str(rule).startswith("language_detected_"):
        allowed += f", or a confidence below {filters.language_confidence:g}"
    return {
        "measured": {
            "stated_language": stated_languages(places, filters.languages)["language"].first(),
            "detected_language": flags.get("detected_language"),
            "language_confidence": flags.get("language_confidence"),
        },
        "allowed": allowed,
    }


def _personal_data(store: Store, doc_id: str, rule: str | None, filters: FiltersSection) -> Evidence:
    flags = _flags(store, doc_id)
    return {
        "measured": {name: flags[name] for name in COUNTS if flags.get(name)},
        "allowed": f"at most {filters.personal_data_limit} in total",
    }


def _keep_out(store: Store, doc_id: str, rule: str | None, filters: FiltersSection) -> Evidence:
    shared = shared_words(store, doc_id)
    quotes = [f'"{words}"' if len(shared) == 1 else f'{name} "{words}"' for name, words in shared.items()]
    return {
        "measured": {"shared_words": quotes},
        "allowed": f"fewer than {WINDOW} words of a row together, and no whole text of {SHORTEST} or more",
    }


_FOUND: dict[str, Callable[[Store, str, str | None, FiltersSection], Evidence | None]] = {
    Reason.KEEP_OUT: _keep_out,
    Reason.HEURISTIC: _heuristic,
    Reason.LICENCE: _licence,
    Reason.LANGUAGE: _language,
    Reason.PERSONAL_DATA: _personal_data,
}


def unknown_language_lines(
    store: Store, settings: Settings, unread: Mapping[str, pl.Series] | None = None
) -> list[str]:
    """Return a line for each corpus whose rows state languages that are no codes, if a rule reads them.

    unread: what the first rows of files state that are still to be read, by corpus; it counts where nothing
    of a corpus is stored.
    """
    by_filter = bool(settings.filters.languages) and settings.filters.language_from == "stated"
    if not by_filter and all(section.per != "language" for section in settings.selection):
        return []
    effect = (
        "the language of these rows is detected from the text instead"
        if by_filter
        else "these rows count as of unknown language"
    )
    places = with_corpora(store, store.read(OCCURRENCES.name, ["shard", "language"]))
    stated = {str(corpus): rows["language"] for (corpus,), rows in places.group_by("corpus")}
    found = {
        name: counts
        for name, languages in sorted({**(unread or {}), **stated}.items())
        if len(counts := _unknown(languages))
    }
    return [
        f"corpus {name}: {counted(int(counts['count'].sum()), 'row')} with a language that is no ISO 639 "
        f"code{'' if name in stated else ' among the first'}: {_shown_codes(counts)}; {effect}. "
        'Write codes such as "en" or "deu" into the rows'
        for name, counts in found.items()
    ]


def _unknown(languages: pl.Series) -> pl.DataFrame:
    """Return the values that are no codes and how many rows state each, the most frequent first."""
    counts = languages.drop_nulls().value_counts(name="count").rename({languages.name: "language"})
    unknown = pl.col("language").is_in([name for name in counts["language"] if not is_known(name)])
    return counts.filter(unknown).sort("count", "language", descending=[True, False])


def _shown_codes(counts: pl.DataFrame) -> str:
    rows = counts.select("language", "count").iter_rows()
    return named(
        [f'"{visible_name(name[:LONGEST_SHOWN])}" ({count:,})' for name, count in rows], VALUES_SHOWN
    )


def files_lost(store: Store, decided: pl.DataFrame) -> list[str]:
    """Return a line for each file that loses over half of its documents to one reason.

    decided: doc_id, reason and maybe detail (the rule) of the documents of the pool. Small files that share a
    shard count together. Files of fewer than 20 documents are left out, but for those of at least five that
    lose all of them to rules of form.
    """
    lost = pl.col("reason").is_in([*LOST_AS])
    if decided.filter(lost).is_empty():
        return []
    if "detail" not in decided.columns:
        decided = decided.with_columns(detail=pl.lit(None, pl.String))
    places = store.read(OCCURRENCES.name, ["doc_id", "shard"])
    groups = group_of_files(store).rename({"partition": "group"})
    held = places.join(groups, on="shard", how="left").with_columns(part=pl.coalesce("group", "shard"))
    decided = decided.select("doc_id", "reason", "detail")
    held = held.select("doc_id", "part").unique().join(decided, on="doc_id")
    rules = pl.col("detail").drop_nulls().value_counts(sort=True, name="count")
    counts = held.with_columns(of=pl.len().over("part")).group_by("part", "reason", "of").agg(pl.len(), rules)
    whole = (pl.col("reason") == Reason.HEURISTIC) & (pl.col("len") == pl.col("of"))
    least = pl.when(whole).then(LEAST_WHOLE).otherwise(LEAST_DOCUMENTS)
    half = (pl.col("of") >= least) & (2 * pl.col("len") > pl.col("of"))
    most = counts.filter(half, lost).sort("part", "reason")
    names = _names(store, most["part"])
    return [
        f"{names[part]}: {count:,} of its {of:,} documents are {LOST_AS[reason][0]}"
        f"{_rules_lost(reason, rules)}; {LOST_AS[reason][1]}"
        for part, reason, of, count, rules in most.select("part", "reason", "of", "len", "detail").iter_rows()
    ]


def _rules_lost(reason: str, rules: Sequence[Mapping[str, Any]]) -> str:
    """Return how many documents of a file each rule of form drops, in brackets, most first."""
    if reason != Reason.HEURISTIC or not rules:
        return ""
    ordered = sorted(rules, key=lambda one: (-one["count"], one["detail"]))
    return f" ({named(['{detail} {count:,}'.format_map(one) for one in ordered])})"


def corpora_lost(store: Store, decided: pl.DataFrame) -> list[str]:
    """Return a line for each corpus that loses over a fifth of its documents to one rule of the filters.

    decided: doc_id, reason and maybe detail of the documents of the pool.
    """
    by_rule = pl.col("reason").is_in([*_CURES]) & pl.col("detail").is_not_null()
    if "detail" not in decided.columns or decided.filter(by_rule).is_empty():
        return []
    held = _by_corpus(store).join(decided.select("doc_id", "reason", "detail"), on="doc_id")
    return [
        f"corpus {corpus}: {count:,} of its {of:,} documents are dropped by the rule {rule}; "
        + _CURES[reason].format(rule=rule)
        for corpus, reason, rule, of, count in _large_parts(held, by_rule, "reason", "detail").iter_rows()
    ]


def _by_corpus(store: Store) -> pl.DataFrame:
    """Return doc_id and corpus of every document, once for each corpus that holds it."""
    places = with_corpora(store, store.read(OCCURRENCES.name, ["doc_id", "shard"]))
    return places.select("doc_id", "corpus").unique()


def _large_parts(held: pl.DataFrame, where: pl.Expr, *kinds: str) -> pl.DataFrame:
    """Return corpus, kinds, documents of the corpus and of the kind, of kinds over a fifth of a corpus."""
    counts = (
        held.with_columns(of=pl.len().over("corpus")).filter(where).group_by("corpus", *kinds, "of").len()
    )
    large = (pl.col("of") >= LEAST_DOCUMENTS) & (pl.col("len") > MUCH_OF_A_CORPUS * pl.col("of"))
    return counts.filter(large).sort("corpus", *kinds)


def form_lines(store: Store, filters: FiltersSection) -> list[str]:
    """Return what a person should know of the rule `form_implausible`, in sentences.

    These are why a large pool has no model of its own, targets with broken examples, and corpora with
    over a fifth of documents in languages that the rule says nothing about.
    """
    known = read_form(store) if form_excludes(filters) else None
    if known is None:
        return []
    scores = store.read(FORM_SCORES.name, ["doc_id", "form_logit", "form_language"])
    held, unseen = _by_corpus(store).join(scores, on="doc_id"), pl.col("form_logit").is_null()
    unseen &= pl.col("form_language") != "short"
    lines = [f"{IMPLAUSIBLE.name} is decided by {known.note}"] if known.own_was_refused else []
    lines += broken_goal_lines(known)
    for corpus, of, count in _large_parts(held, unseen).iter_rows():
        languages = held.filter(unseen, pl.col("corpus") == corpus)["form_language"].value_counts(
            name="count"
        )
        languages = languages.rename({"form_language": "language"})
        shown = _shown_codes(languages.sort("count", "language", descending=[True, False]))
        lines.append(
            f"corpus {corpus}: {IMPLAUSIBLE.name} says nothing about {count:,} of its {of:,} documents, "
            f"since its model has not seen their language: {shown}"
        )
    return lines


def _names(store: Store, shards: Iterable[str]) -> dict[str, str]:
    """Return what people call these files: their names, of a group of small files its key."""
    notes = pl.concat([store.read(table, ["shard", "name"]) for table in NOTES]).unique("shard", keep="last")
    files = with_corpora(store, pl.DataFrame({"shard": [*shards]}, schema={"shard": pl.String}))
    named = files.join(notes, on="shard", how="left").select("shard", "corpus", "name")
    return {
        shard: f"file {name} of corpus {corpus}" if name is not None else f"shard {shard}"
        for shard, corpus, name in named.iter_rows()
    }
