"""Questions to a judge; and how a document is kept from asking something else.

Two prompts. `ask-llm` is that of Sachdeva et al. 2402.09668 (Fig. 3), word for word, for capable judges.
`examples` is a plain completion prompt with eight examples, for small ones. SmolLM2-135M tells clean texts
from planted noise with it; asked with `ask-llm` it does worse than chance on prose (`benchmarks.quality`).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import polars as pl

PromptName = Literal["ask-llm", "examples"]
PROMPT_NAMES: tuple[PromptName, ...] = ("ask-llm", "examples")

ASK_LLM_PREFIX = "###\n"
ASK_LLM_SUFFIX = """
###

Does the previous paragraph demarcated within ### and ### contain informative signal for pre-training a \
large-language model? An informative datapoint should be well-formatted, contain some usable knowledge of \
the world, and strictly NOT have any harmful, racist, sexist, etc. content.

OPTIONS:
- yes
- no
"""
CHAT_REMINDER = "\nAnswer with yes or no only."
DOCUMENT_MARK = (
    "\ue000document\ue000"  # private use: takes the place of the document while a chat template is applied
)

QUESTION = "Is this text informative and well written?"
# The order is decisive. On 86 clean texts of five sources and noise made of them the AUC was .95 with four
# good ones and then four bad ones, .83 with the same eight by turns, .88 with four by turns.
EXAMPLES: tuple[tuple[str, str], ...] = (
    (
        "The heart pumps blood through two separate circuits. The right side sends it to the lungs, where it "
        "takes up oxygen, and the left side sends it on to the rest of the body.",
        "yes",
    ),
    (
        "I watched this with my sister and we both laughed a lot. The story is simple, but the actors are so "
        "good that you forget it, and the last scene stays with you for days.",
        "yes",
    ),
    (
        "A tenant may end the agreement by giving the owner thirty days of notice in writing. If the rent "
        "has been paid in advance, the owner shall return what is left of it.",
        "yes",
    ),
    (
        "sort_values(by, ascending=True) returns a new table whose rows are ordered by the given column. "
        "Missing values are placed last, and the original table is left unchanged.",
        "yes",
    ),
    (
        "Home | About | Login | Cart (0) | Contact us | Privacy | Terms | Share | Next page >> "
        "Click here Click here Click here",
        "no",
    ),
    ("83.2 0.417 5 1190 22.71 3 0.08 616.4 9 47.5 1203 0.66 7.1 358 2.25", "no"),
    (" ".join(["in the middle of"] * 7), "no"),
    ("river the of because 4471 to to running blue from table xq 88 was it under the the seven", "no"),
)
# Any judge may read these as its own control tokens; its tokenizer's list is added where it is known.
CONTROL_PATTERNS: tuple[tuple[str, str], ...] = (
    (r"<(\|[^<>|\s]{1,40}\|)>", "< ${1} >"),
    (r"(?i)<(/?(?:s|bos|eos|pad|unk|start_of_turn|end_of_turn|think))>", "< ${1} >"),
    (r"(?i)\[(/?(?:INST|SYS|SYSTEM_PROMPT))\]", "[ ${1} ]"),
)


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """Text around the document, how "yes" is spelled right after it, and the delimiters to break."""

    name: PromptName
    prefix: str
    suffix: str
    answer: str
    delimiters: tuple[tuple[str, str], ...]

    def around(self, document: str) -> str:
        """The whole question about one (neutralised, truncated) document."""
        return f"{self.prefix}{document}{self.suffix}"


def _examples_prefix(examples: Sequence[tuple[str, str]]) -> str:
    return "".join([f"Text: {text}\n{QUESTION} {answer}\n\n" for text, answer in examples]) + "Text: "


PROMPTS: dict[str, Prompt] = {
    "ask-llm": Prompt(
        name="ask-llm",
        prefix=ASK_LLM_PREFIX,
        suffix=ASK_LLM_SUFFIX,
        answer="yes",
        delimiters=((r"#{3,}", "##"),),
    ),
    "examples": Prompt(
        name="examples",
        prefix=_examples_prefix(EXAMPLES),
        suffix=f"\n{QUESTION}",
        answer=" yes",
        delimiters=(
            (r"(?i)is\s+this\s+text\s+informative\s+and\s+well[\s-]+written", "[...]"),
            (r"(?im)^(\s*text)\s*:", "${1} -"),
        ),
    ),
}


def reordered(prompt: Prompt) -> Prompt:
    """The same question in an order that ought not to matter: for how steady a judge's answers are.

    Examples change places among the good and among the bad ones, since which come last is known to matter;
    of the paper's prompt the two options do.
    """
    if prompt.name == "examples":
        turned = [example for answer in ("yes", "no") for example in EXAMPLES[::-1] if example[1] == answer]
        return replace(prompt, prefix=_examples_prefix(turned))
    return replace(prompt, suffix=prompt.suffix.replace("- yes\n- no", "- no\n- yes"))


def neutralised(texts: Sequence[str], prompt: Prompt, special_tokens: Iterable[str] = ()) -> list[str]:
    """Documents in which the prompt's delimiters and control tokens of chat models no longer work.

    Delimiters and control tokens are broken by an inserted space or shortened, never removed without trace,
    so that no text can assemble one from what is left. Lone surrogates become "?".
    """
    column = pl.Series(
        "text", [text.encode("utf-8", "replace").decode("utf-8") for text in texts], dtype=pl.String
    ).str.strip_chars()
    for pattern, replacement in (*CONTROL_PATTERNS, *_token_patterns(special_tokens), *prompt.delimiters):
        column = column.str.replace_all(pattern, replacement)
    return column.to_list()


def _token_patterns(special_tokens: Iterable[str]) -> list[tuple[str, str]]:
    rests: dict[str, list[str]] = {}
    for token in sorted(set(special_tokens), key=len, reverse=True):
        if len(token) > 1 and not token.isspace():
            rests.setdefault(token[0], []).append(re.escape(token[1:]))
    return [(f"({re.escape(first)})({'|'.join(rest)})", "${1} ${2}") for first, rest in sorted(rests.items())]


def with_chat_template(prompt: Prompt, rendered: str) -> Prompt:
    """The prompt of a chat model: `rendered` is its template applied to the prompt around `DOCUMENT_MARK`."""
    prefix, suffix = rendered.split(DOCUMENT_MARK)
    return replace(prompt, prefix=prefix, suffix=suffix)
