"""Text of a document: one normal form, and the id that follows from it.

Two rows are the same document exactly when their normal forms are equal, so a text is embedded and judged
once however often it occurs in the corpus. Inner white space is kept (it carries meaning in code); 128 bits
make an accidental collision among 10^9 documents less likely than 10^-20. Normalising and hashing
costs about 10 microseconds for a page of text.
"""

import hashlib
import re
import unicodedata

EXCERPT_CHARACTERS = 200
ORIGINAL = "id_in_file"
"""Column of a row whose text differs from its file's: the id of the file's text.

Of a text that was extracted and then mended, two ids: that of the page, and that of its main text.
"""
UNDECODED_BYTES = re.compile(r"[\udc80-\udcff]")
"""Surrogates in place of bytes that are not UTF-8, as `surrogateescape` decodes them."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]+")


def normalise_text(text: str) -> str:
    """Normal form of a text: valid Unicode in NFC, CRLF -> LF, outer white space stripped.

    Lone surrogates (half a character, as in the JSON escape `\\ud800`) become U+FFFD, since UTF-8 cannot
    hold them. CRLF is replaced in one pass, so only `\\r\\r\\n` changes when normalised again: to check a
    stored text, use `normalised_id`.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", without_surrogates(text))
    return text.replace("\r\n", "\n").strip()


def normalised_id(text: str) -> str:
    """Id of a text that is already in normal form (as stored): 32 hex digits, half of SHA-256 over UTF-8."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:32]


def document_id(text: str) -> str:
    """Id of any text: `normalised_id` of its normal form."""
    return normalised_id(normalise_text(text))


def is_document_id(value: str) -> bool:
    """Return whether a string has the form of an id."""
    return len(value) == 32 and not set(value) - set("0123456789abcdef")


def loose_id(text: str) -> str:
    """Id of a text whatever its case, and with any run of white space taken for one space."""
    return normalised_id(" ".join(normalise_text(text).casefold().split()))


def without_surrogates(text: str) -> str:
    """The text with surrogate pairs joined and lone surrogates replaced by U+FFFD."""
    if is_unicode(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def is_unicode(text: str) -> bool:
    """Return whether a text has no half characters (surrogates), which UTF-8 cannot hold."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def excerpt(content: object) -> str:
    """At most 200 printable characters that show what a bad row held."""
    if isinstance(content, bytes):
        shown = content[: 4 * EXCERPT_CHARACTERS].decode("utf-8", "backslashreplace")
    else:
        shown = without_surrogates(str(content)[: 2 * EXCERPT_CHARACTERS])
    return _CONTROL.sub(" ", shown).strip()[:EXCERPT_CHARACTERS]
