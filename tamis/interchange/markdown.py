"""Words of others in a card: names of sources, licences, columns and files, none of which may act as markup.

They come from crawls. A line break in one would end a table, a hub would read `<script>` and `![](...)`, and
the terminal of whoever prints the card an escape sequence.
"""

import re

from tamis.base.progress import visible_name

LONGEST = 200
_PLAIN = re.compile(r"[\w .,:;()/+%='-]*")
_OUTER_UNDERSCORE = re.compile(r"(?<!\w)_|_(?!\w)")


def words(value: object) -> str:
    """Return a value for a cell or a line: as it is, or as code where Markdown would read signs of it.

    Of a list each entry. White space is single, other control characters are written out, and what is longer
    than 200 characters is cut.
    """
    if isinstance(value, list | tuple):
        return ", ".join(words(entry) for entry in value)
    text = one_line(value)
    plain = text.replace("|", "")
    if _PLAIN.fullmatch(plain) and not _OUTER_UNDERSCORE.search(plain):
        return text.replace("|", "\\|")
    return code(text)


def code(value: object) -> str:
    """Return a value as code in a cell or a line: between more backticks than it has in a row."""
    text = one_line(value).replace("|", "\\|")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    padding = " " if text.startswith("`") or text.endswith("`") or not text else ""
    return f"{fence}{padding}{text}{padding}{fence}"


def one_line(value: object) -> str:
    """Return a value as one line of at most 200 characters that neither Markdown nor a terminal breaks."""
    text = visible_name(" ".join(str(value).split()))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
