"""Advice to people without a project: what messages say of sections of a tamis.toml, in words of options."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tamis.base.errors import PermanentError, TamisError, TransientError
from tamis.filters import FAMILIES
from tamis.readers.rows import NAME_IT
from tamis.verbs.choice.from_files import AWAY, CHOSEN, GOAL, RULES, PoolError

IN_A_PROJECT = "in a project (`tamis init NAME --from-select ...`), "
OPTIONS = {
    "text_column": "--text-column",
    "format": "--format",
    "split": "--split",
    "sampler": "--sampler",
    "budget": "--budget",
    "per": "--per",
    "maximum_shares": "--maximum-share",
    "minimum_shares": "--minimum-share",
    "tokenizer": "--tokenizer",
    "name": "--encoder",
    "seed": "--seed",
}
"""The option of each key of a section that a call decides."""
_SECTION = (
    r" in (?:\[\[corpus\]\] [^\s;,]+|its section of tamis\.toml)"
    r"(?:, in a section of its own if other files differ)?"
)
_LIST = r"\[.*?\]"
_COLUMN = re.compile(r'format = "(\w+)"(?:(?:,| and) text_column = ("[^"]+"))?')


def _text_column(found: re.Match[str]) -> str:
    columns = json.loads(found[1])
    return f"pass --text-column {columns if isinstance(columns, str) else ','.join(columns)}"


def _formats(found: re.Match[str]) -> str:
    given = (
        f"--format {form}{f' --text-column {json.loads(column)}' if column else ''}"
        for form, column in _COLUMN.findall(found[0])
    )
    return " or ".join(given)


def _without_family(found: re.Match[str]) -> str:
    rule = found[1]
    kept = [name for name in RULES if all(one.name != rule for one in FAMILIES[name])]
    return f"--decisions shows which these are; if they are sound, pass --rules {','.join(kept) or 'none'}"


def _setting(found: re.Match[str]) -> str:
    return f"{OPTIONS.get(found[1], found[1])} {found[2]} is not valid"


_ADVICE: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (rf"; to skip them, set exclude = {_LIST} in \[\[corpus\]\] \S+", ""),
    (re.escape(f"({NAME_IT})"), "(name the right one with --text-column, or the --format)"),
    (rf'set text_column = ("[^"]*"|\[[^\]]*\]){_SECTION}', _text_column),
    (
        rf'set format = "\w+"(?: and text_column = "[^"]+")?{_SECTION}',
        lambda found: f"pass {_formats(found)}",
    ),
    (
        rf"set exclude = {_LIST} in \[\[corpus\]\] [^\s;,]+(?:, (?:and )?include = .*?"
        r"in (?:a|another) \[\[corpus\]\] of its own)+",
        lambda found: f"choose from these files in a call of their own, with {_formats(found)}",
    ),
    (
        r"look at some of them on the selection's page of documents, and if they are sound, set "
        r'heuristics_off = \["(\w+)"\] in \[filters\]',
        _without_family,
    ),
    (
        r"`tamis explain DOC_ID` names the rule, and heuristics_off in \[filters\] turns it off",
        "--decisions names the rule of each, and --rules says which families apply",
    ),
    (r'set extract = "html" in \[\[corpus\]\] \S+ to', "pass --extract html to"),
    (r"`tamis status` says why, under quarantine", "--decisions says why"),
    (r"`tamis explain DOC_ID` names the score that they lack", "--decisions says why"),
    (r"raise (threshold in \[near_duplicates\]|ngram in \[decontamination\])", rf"{IN_A_PROJECT}raise \1"),
    (r"take the examples out of the corpus, or other examples for the target", "name another pool or target"),
    (r'set name = "([^"]+)" in \[encoder\]', r"pass --encoder \1"),
    (r"or set name in \[encoder\] to (.*) or a folder", r"or pass --encoder \1 or a folder"),
    (
        r"name a sentence-transformers model that does in \[encoder\] \(a folder or a hub id\)",
        "pass a sentence-transformers model that does to --encoder (a folder or a hub id)",
    ),
    (
        r"set tokenizer in \[project\] to (a folder, a Hugging Face id), ('\S+') or the name of a "
        r"\[\[base_model\]\]",
        r"pass \1 or \2 to --tokenizer",
    ),
    (r"(?<=') of \[\[keep_out\]\](?=:)", " of --keep-out"),
    (r"^(?:tamis select: )?\[\[score\]\] (\w+)(?=:)", r"--score \1"),
    (rf"^tamis select: \[\[selection\]\] {CHOSEN}: (\w+)", r"--\1"),
    (r"the name of a \[\[score\]\], but tamis\.toml has none", "the name of a --score, but there is none"),
    (r"\[\[score\]\]", "--score"),
    (r"range = \[(\S+), (\S+)\](?=, since selection)", r"range=\1:\2"),
    (
        r"(text_columns in \[\[keep_out\]\] names others|maximum_share in \[decontamination\] says how many)",
        rf"{IN_A_PROJECT}\1",
    ),
    (r"take its files out of the corpora", "leave its files out of the pool"),
    (r"take them out of the target's files", "take them out of --target"),
    (r"correct this, or the section of '\S+' in tamis\.toml", "correct this, or name another file"),
    (r"^tamis select: (?:\w+\[\d+\]\.|\w+\.)(\w+) = (.*?) is not valid(?: \(section '[^']*'\))?", _setting),
    (
        r"^tamis select: perplexity\.model is missing; .*",
        "a sampler of perplexity ranks by a model of a project, which only a project has (`tamis init`)",
    ),
    (
        r"as set in (maximum_shares|minimum_shares)",
        lambda found: f"as set by {OPTIONS[found[1]]}",
    ),
    (r"\b(file .*?) of corpus \S+?(?=:)", r"\1"),
    (r"\bin the corpus folder", "in the folder of the pool"),
    (r"(?<!\w)corpus (?=[\w-]+: )", ""),
    (rf"\btarget {GOAL}\b", "target"),
    (rf"\btarget {AWAY}\b", "--keep-away"),
)
"""Patterns of messages, in order, with the words for a person who has no project."""


def in_options(line: str) -> str:
    """Return a message with the advice about a tamis.toml put in words of the options of `tamis select`."""
    for pattern, words in _ADVICE:
        line = re.sub(pattern, words, line)
    return line


@contextmanager
def errors_in_options() -> Iterator[None]:
    """Raise errors of Tamis with their advice in words of options; they are retried or not as before."""
    try:
        yield
    except TamisError as error:
        said = in_options(str(error))
        if said == str(error):
            raise
        raise (PoolError if isinstance(error, PermanentError) else TransientError)(said) from error
