"""The options that decide a choice from files: of `select`, and of `init --from-select`."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, get_args

import click

from tamis.settings.budget import Per
from tamis.settings.sections import AUTO_COLUMN, RowFormat
from tamis.verbs.choice.from_files import RULES, Call, PoolError, read_score_option

F = TypeVar("F", bound=Callable[..., Any])
NONE = "none"


def choice_options(verb: F) -> F:
    """Add the options that decide a choice, in the order of the help."""
    options = [
        click.option(
            "--target",
            multiple=True,
            metavar="FILE...",
            help="Examples of what the model should become good at: files, folders or globs; 500 to 2,000 "
            "are best.",
        ),
        click.option(
            "--budget",
            default="10%",
            show_default=True,
            metavar="B",
            help='How much to choose: a share of what may be chosen ("10%"), documents (1000) or tokens '
            '("2Mtok").',
        ),
        click.option(
            "--sampler",
            metavar="S",
            help="How to rank (docs/samplers.md).  [default: got-d; with --keep-away got-d-contrast]",
        ),
        click.option(
            "--text-column",
            default=AUTO_COLUMN,
            show_default=True,
            metavar="C",
            help="Column of the text, a path (doc.body), or several with commas: a row takes the first that "
            "it has.",
        ),
        click.option(
            "--format",
            "form",
            type=click.Choice(get_args(RowFormat)),
            default="text",
            show_default=True,
            help="What a row is: a text, or a conversation.",
        ),
        click.option(
            "--extract",
            type=click.Choice(["html"]),
            help="Texts are web pages: read their main text, and texts without markup as they are.",
        ),
        click.option(
            "--split",
            metavar="LENGTH",
            help='Choose passages of documents that are longer, such as "2000 tokens", "1500 words" or "8000 '
            'characters"; those chosen of a document are one row.',
        ),
        click.option(
            "--rules",
            default=",".join(RULES),
            show_default=True,
            metavar="R",
            help="Rules that drop broken texts, with commas, or none.",
        ),
        click.option(
            "--keep-away",
            multiple=True,
            metavar="FILE...",
            help="Examples of what the choice should be far from.",
        ),
        click.option(
            "--keep-out",
            multiple=True,
            metavar="FILE...",
            help="Benchmarks that must not leak: drop documents that repeat a row of these files, folders or "
            "globs.",
        ),
        click.option(
            "--score",
            "scores",
            multiple=True,
            metavar="NAME=COLUMN",
            help="A column of numbers, or the folder of a transformers classifier; for --sampler score:NAME, "
            "--quality and --where. More after commas: worse, label=L, range=0:5.",
        ),
        click.option(
            "--where",
            metavar="SQL",
            help="Only documents of which this is true, by scores, n_tokens, n_chars, language or source.",
        ),
        click.option(
            "--quality",
            metavar="NAME",
            help="With --sampler got-d-quality or quality-diversity: the --score, with a range, that is the "
            "quality.",
        ),
        click.option(
            "--per",
            type=click.Choice(get_args(Per)),
            help="Divide the budget by these, within the bounds of the next two options.",
        ),
        click.option(
            "--maximum-share",
            type=click.FloatRange(0, 1),
            metavar="X",
            help="With --per: the most of the budget that each may take.",
        ),
        click.option(
            "--minimum-share",
            type=click.FloatRange(0, 1),
            metavar="X",
            help="With --per: the least of the budget that each takes.",
        ),
        click.option(
            "--encoder",
            default="static",
            show_default=True,
            metavar="E",
            help="How texts become vectors: static, minilm, multilingual-e5-small, a folder or a hub id.",
        ),
        click.option(
            "--tokenizer", metavar="T", help="Count tokens with this tokenizer instead of estimating them."
        ),
        click.option(
            "--seed",
            type=click.IntRange(0, 2**63 - 1),
            default=0,
            metavar="N",
            help="Decides draws, and the order of equal scores.  [default: 0]",
        ),
        click.option(
            "--hold-out",
            type=click.IntRange(0),
            default=0,
            show_default=True,
            metavar="N",
            help="Hold out N examples, and drop documents that share long passages with them.",
        ),
    ]
    for option in reversed(options):
        verb = option(verb)
    return verb


def call_of(
    pool: Sequence[str],
    *,
    target: Sequence[str],
    budget: str,
    text_column: str,
    form: str,
    rules: str,
    keep_away: Sequence[str],
    scores: Sequence[str],
    per: str | None,
    maximum_share: float | None,
    minimum_share: float | None,
    **given: Any,
) -> Call:
    """Return the call of the options; raises `PoolError` for rules that do not exist."""
    named = [rule.strip() for rule in rules.split(",") if rule.strip()]
    if named == [NONE]:
        named = []
    if unknown := [rule for rule in named if rule not in RULES]:
        raise PoolError(f"--rules {unknown[0]}: there is no such rule; valid: {', '.join(RULES)}, or {NONE}")
    columns = [column.strip() for column in text_column.split(",") if column.strip()]
    shares = {"maximum_shares": maximum_share, "minimum_shares": minimum_share}
    return Call(
        pool=pool,
        target=target,
        keep_away=keep_away,
        budget=int(budget) if budget.isascii() and budget.isdecimal() else budget,
        rules=named,
        text_column=columns[0] if len(columns) == 1 else columns,
        format=form,
        per=per,
        shares={name: share for name, share in shares.items() if share is not None},
        scores=[read_score_option(score) for score in scores],
        **given,
    )
