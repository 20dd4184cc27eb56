"""Quality: a judge asked about a sample, a grader that extends it to every document, perplexity, flags."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from tamis.corpus.intake import count_documents
from tamis.corpus.quarantine import forget_refused, show_refused
from tamis.embedding.storing import current_table
from tamis.filters.stage import plan_of
from tamis.filters.storing import TABLE as FLAGS
from tamis.filters.storing import fingerprint, flag_documents
from tamis.platform.assets.corpus import outputs_of
from tamis.platform.assets.specification import asset, part
from tamis.platform.resources.judge import JudgeResource
from tamis.quality import Grader
from tamis.quality.judging import (
    CHECKED,
    grader_of_sample,
    grader_report,
    mark_in_words,
    mark_of_judge,
    median_answer_mass,
    sample_of_pool,
)
from tamis.quality.second_asking import TABLE as SECOND_ANSWERS
from tamis.quality.second_asking import ask_again, asked_again
from tamis.quality.storing import (
    UNANSWERED,
    grade_documents,
    judge_documents,
    set_unanswered_aside,
    unjudged,
)
from tamis.runtime.record import Output, Rows
from tamis.runtime.step import Work
from tamis.store.retained import take_back
from tamis.store.tables import ALL, one_of
from tamis.training.storing import score_perplexity

BEATS_LENGTH = (
    "beats_length",
    "On held-out documents, the grader predicts the judge's margin better than document length does.",
    False,
)
DECISIVE = (
    "decisive",
    "For the median document, the judge gives at least half of the probability to the answers yes and no.",
    False,
)
TELLS_NOISE = (
    "tells_noise",
    "The judge separates documents from noise made of the same documents better than text length does.",
    False,
)
GRADER_FILE = "grader.npz"


@part("document_flags", ["lancedb", "polars"])
def document_flags(work: Work) -> Iterator[Any]:
    """What filters use of each document: measures of form, language, counts of personal data, but no text."""
    plan = plan_of(work.project.settings.filters)
    missing = count_documents(work.store, work.partitions, FLAGS, f"fingerprint = '{fingerprint(plan)}'")
    with work.progress("flags", missing) as progress:

        def flags_of(group: dict[str, list[str]]) -> Iterator[Any]:
            made = []
            for key, doc_ids in group.items():
                flagged = flag_documents(work.store, plan, doc_ids, progress.advance)
                facts = {"flagged": flagged, "reused": len(doc_ids) - flagged}
                made.append(Output(partition=key, doc_ids=doc_ids, row_count=len(doc_ids), metadata=facts))
            yield from work.record(*made)

        yield from work.in_groups(flags_of)


@asset("judge_sample", ["polars"])
def judge_sample(work: Work) -> Iterator[Any]:
    """Documents that the judge rates: a uniform sample, and documents that inform the grader most."""
    sample = sample_of_pool(work.store, work.project)
    work.store.put("judge_sample", sample, ALL)
    yield from work.record(Output(row_count=len(sample)))


@asset("judge_scores", ["lancedb", "transformers"], [DECISIVE, TELLS_NOISE], engine=True)
def judge_scores(work: Work, judge: JudgeResource) -> Iterator[Any]:
    """Ask-LLM: the judge's log-probabilities of yes and no when asked if a document is worth training on."""
    sample = work.store.read("judge_sample")
    doc_ids = sample["doc_id"].to_list()
    with work.progress(f"loading judge {work.project.settings.judge.model}"):
        asked = judge.open(work.project)
    take_back(work.store, "scores_judge", doc_ids, asked.fingerprint)
    missing = unjudged(work.store, doc_ids, asked.fingerprint)
    with work.progress("asking the judge", len(missing)) as progress:
        judge_documents(work.store, asked, missing, progress.advance)
    unanswered = set_unanswered_aside(work.store, doc_ids, asked.fingerprint)
    with work.progress("asking the judge about noise", min(CHECKED, len(doc_ids))) as progress:
        mark = mark_of_judge(work.store, asked, sample, work.project.seed, progress.advance)
    twice = sorted(set(asked_again(sample, work.project.seed)).difference(unanswered))
    with work.progress("asking the judge a second time", len(twice)) as progress:
        again = ask_again(work.store, asked, twice, progress.advance)
    mass = median_answer_mass(work.store, doc_ids)
    decisive = dg.AssetCheckResult(
        asset_key="judge_scores",
        check_name="decisive",
        passed=mass >= 0.5,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"median_answer_mass": mass},
    )
    tells_noise = dg.AssetCheckResult(
        asset_key="judge_scores",
        check_name="tells_noise",
        passed=mark is not None and mark.beats_length,
        severity=dg.AssetCheckSeverity.WARN,
        metadata=mark_in_words(mark),
    )
    facts = {
        "asked": len(missing),
        "reused": len(doc_ids) - len(missing),
        "median_answer_mass": mass,
        "unanswered": len(unanswered),
        "asked_again": again,
        **asked.usage.in_words(work.project.settings.judge.price_per_million_tokens),
    }
    yield from work.record(
        Output(
            rows=[
                Rows(table="scores_judge", doc_ids=doc_ids),
                Rows(table=SECOND_ANSWERS, doc_ids=twice),
                Rows(table="quarantine", where=f"shard = '{UNANSWERED}'"),
            ],
            row_count=len(doc_ids),
            metadata=facts | mark_in_words(mark),
            checks=[decisive, tells_noise],
        )
    )


@part("perplexity_scores", ["lancedb", "torch"])
def perplexity_scores(work: Work) -> Iterator[Any]:
    """Bits per byte of each document under a small language model not trained on that document."""
    most, stage = work.project.settings.perplexity.max_tokens, work.stage.name
    models = [key for key in work.snapshot.keys("models") if ("base_models", key) in work.current]
    folders = {key: work.upstream("base_models", key) for key in models}
    versions = {key: work.current[("base_models", key)].data_version for key in models}
    marks = [f"{versions[key][:32]}:{most}" for key in models]
    forget_refused(work.store, stage, marks)
    known = one_of("fingerprint", marks)
    missing = count_documents(work.store, work.partitions, "scores_perplexity", known)
    with work.progress("perplexity", missing) as progress:

        def scores_of(group: dict[str, list[str]]) -> Iterator[Any]:
            every = sorted({doc_id for doc_ids in group.values() for doc_id in doc_ids})
            scored = score_perplexity(work.store, work.project, folders, versions, every, progress.advance)
            aside = show_refused(work.store, stage, group, marks)
            yield from work.record(*outputs_of(work, group, aside, ("scored", scored)))

        yield from work.in_groups(scores_of)


@asset("quality_grader", ["numpy"], [BEATS_LENGTH])
def quality_grader(work: Work) -> Iterator[Any]:
    """Regression of the judge's margin (yes against no) on vectors, surface features and perplexity."""
    grader, count = grader_of_sample(work.store, current_table(work.project), work.project.seed)
    folder = work.fitted("")
    folder.mkdir(parents=True, exist_ok=True)
    grader.save(folder / GRADER_FILE)
    check = dg.AssetCheckResult(
        asset_key="quality_grader",
        check_name="beats_length",
        passed=bool(grader.report.passed),
        severity=dg.AssetCheckSeverity.WARN,
    )
    made = Output(files=[folder], row_count=count, metadata=grader_report(grader), checks=[check])
    yield from work.record(made)


@part("quality_scores", ["lancedb"])
def quality_scores(work: Work) -> Iterator[Any]:
    """Quality score of each document of a shard, predicted by the grader."""
    table = current_table(work.project)
    grader = Grader.load(work.upstream("quality_grader") / GRADER_FILE)
    mark = work.current[("quality_grader", "")].data_version[:32]
    with work.progress("quality", count_documents(work.store, work.partitions)) as progress:

        def grades_of(group: dict[str, list[str]]) -> Iterator[Any]:
            every = sorted({doc_id for doc_ids in group.values() for doc_id in doc_ids})
            grade_documents(work.store, grader, mark, table, every)
            progress.advance(len(every))
            yield from work.record(
                *[
                    Output(partition=key, doc_ids=doc_ids, row_count=len(doc_ids))
                    for key, doc_ids in group.items()
                ]
            )

        yield from work.in_groups(grades_of)
