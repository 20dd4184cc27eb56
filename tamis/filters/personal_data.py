"""Traces of persons in a text: how many e-mail addresses, phone, card and account numbers, and the like.

The patterns are conservative, since a false alarm costs a document: numbers with a check digit must pass it,
phone numbers their numbering plan, and what manuals use as examples does not count (example.com, private and
documentation addresses, version numbers, published test cards). Only counts leave this module, never what
was found. About 18,000 texts of 900 characters a second on two cores.
"""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from tamis.filters import phone_numbers
from tamis.filters.checked_numbers import is_card_number, is_iban
from tamis.filters.text_units import TEXT

FOUND = pl.col("found")
_EXAMPLE_DOMAIN = (
    r"@(?:[a-z0-9-]+\.)*(?:example\.(?:com|org|net|edu)|your(?:domain|company|email|mail|site)\.com|"
    r"[a-z0-9-]+\.(?:example|test|invalid|localhost|local|internal))$"
)
_NOT_A_PERSON = r"^(?:git|svn|hg|user|username|name|you|your[._-]?name|foo|bar|noreply|no-reply)@"
_EXAMPLE_SSNS = ("078-05-1120", "219-09-9999", "123-45-6789", "111-11-1111")
_FILE_NAME = r"\.(?:png|jpe?g|gif|svg|webp|ico|js|css|py|html?|json)$"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of personal data: what may be it, and whether it is.

    `counts` is None for phone numbers, about which their regions decide.
    """

    name: str
    pattern: str
    counts: Callable[[], pl.Expr] | None = None


def _is_email() -> pl.Expr:
    address = FOUND.str.to_lowercase()
    excluded = "|".join(f"(?:{part})" for part in (_EXAMPLE_DOMAIN, _NOT_A_PERSON, _FILE_NAME))
    return ~address.str.contains(excluded)


def _is_ip_address() -> pl.Expr:
    """Public and of version 4, or global unicast of version 6; neither version numbers nor examples."""
    return pl.when(FOUND.str.contains(":", literal=True)).then(_is_ip_v6()).otherwise(_is_ip_v4())


def _is_ip_v6() -> pl.Expr:
    halves = FOUND.str.count_matches("::")
    groups = FOUND.str.count_matches("[0-9a-fA-F]+")
    whole = ((groups == 8) & (halves == 0)) | ((groups < 8) & (halves == 1))
    return whole & ~FOUND.str.contains(r"(?i)^2001:0?db8:")


def _is_ip_v4() -> pl.Expr:
    plain = FOUND.str.strip_suffix(".")
    parts = plain.str.split(".")
    first, second, third = (
        parts.list.get(place, null_on_oob=True).cast(pl.Int64, strict=False) for place in range(3)
    )
    numbers = parts.list.eval(pl.element().cast(pl.Int64, strict=False))
    small = numbers.list.max() < 32  # a version or section number rather than a public address
    reserved = (
        first.is_in([0, 10, 127])
        | (first >= 224)
        | ((first == 100) & second.is_between(64, 127))
        | ((first == 169) & (second == 254))
        | ((first == 172) & second.is_between(16, 31))
        | ((first == 192) & ((second == 168) | ((second == 0) & third.is_in([0, 2]))))
        | ((first == 198) & (second.is_between(18, 19) | ((second == 51) & (third == 100))))
        | ((first == 203) & (second == 0) & (third == 113))
    )
    form = plain.str.contains(r"^(?:(?:0|[1-9]\d{0,2})\.){3}(?:0|[1-9]\d{0,2})$")
    # 115.0.250.1: programs number their releases so, and one public address in 256 looks like it
    release = second == 0
    return form & (numbers.list.max() <= 255) & ~small & ~reserved & ~release


def _is_ssn() -> pl.Expr:
    example = FOUND.str.replace_all(" ", "-").is_in(_EXAMPLE_SSNS)
    area, group = r"(?:00[1-9]|0[1-9]\d|[1-8]\d\d)", r"(?:0[1-9]|[1-9]\d)"
    possible = FOUND.str.contains(f"^(?:{area}-{group}-|{area} {group} )" + r"\d{4}$")
    return possible & ~FOUND.str.contains(r"^666|0000$") & ~example


# Each pattern takes a neighbouring word character in where there is one, so that a part of a longer number or
# name fails the check that follows: the engine looks neither ahead nor behind.
KINDS: tuple[Kind, ...] = (
    Kind(name="card", pattern=r"[\w.+-]?\d(?:[ -]?\d){11,18}\w?", counts=lambda: is_card_number(FOUND)),
    Kind(
        name="iban",
        pattern=r"\w?(?:[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3}\b)?|"
        r"[a-z]{2}\d{2}(?: ?[a-z0-9]{4}){2,7}(?: ?[a-z0-9]{1,3}\b)?)\w?",
        counts=lambda: is_iban(FOUND),
    ),
    Kind(
        name="ssn",  # with spaces only where no other number is next to it, as in a table
        pattern=r"(?:\d[\d.,]* |[\w.,-])?\d{3}(?:-\d{2}-\d{4}[\w-]?| \d{2} \d{4}(?: \d|[.,]\d|[\w-])?)",
        counts=_is_ssn,
    ),
    Kind(
        name="email",
        pattern=r"(?i)[a-z0-9][a-z0-9._%+-]{0,63}@(?:[a-z0-9-]{1,63}\.)+[a-z]{2,24}\b",
        counts=_is_email,
    ),
    Kind(name="phone", pattern=phone_numbers.PATTERN),
    Kind(
        name="ip_address",
        pattern=r"(?i)(?:\b(?:versions?|releases?|builds?|ver|rev|v|since|firmware)[.:]? ?|[=<>~]= ?|"
        r"\w[/-])?[\w.]*\d\.\d{1,3}\.\d{1,3}\.\d[\w.]*|"
        r"\b[23][0-9a-f]{3}(?::[0-9a-f]{0,4}){3,7}",
        counts=_is_ip_address,
    ),
)
COUNTS: tuple[str, ...] = tuple(f"{kind.name}_count" for kind in KINDS)


def personal_data(
    texts: pl.DataFrame, phone_regions: tuple[str, ...] = phone_numbers.DEFAULT_REGIONS
) -> pl.DataFrame:
    """The columns `COUNTS` (uint32) for a frame with a column `text`, a row per text in order.

    phone_regions: two-letter codes of those whose national phone numbers are known.
    """
    return texts.select(
        _count(texts, kind, phone_regions).alias(column) for kind, column in zip(KINDS, COUNTS, strict=True)
    )


def _count(texts: pl.DataFrame, kind: Kind, phone_regions: tuple[str, ...]) -> pl.Series:
    """Count the occurrences of one kind in each text."""
    candidates = texts.select(TEXT.str.extract_all(kind.pattern).alias("found")).with_row_index("row")
    found = candidates.explode("found").drop_nulls("found")
    counts = kind.counts() if kind.counts else phone_numbers.is_phone(found["found"], phone_regions)
    found = found.filter(counts)
    counted = found.group_by("row").agg(pl.len().cast(pl.UInt32).alias("count"))
    rows = candidates.select("row").join(counted, on="row", how="left", maintain_order="left")
    return rows["count"].fill_null(0)


def first_found(limit: int) -> pl.Expr:
    """Rule that a document with more than `limit` findings breaks: "personal_data_" and its first kind."""
    total = pl.sum_horizontal(pl.col(COUNTS))
    kinds = [
        pl.when(pl.col(column) > 0).then(pl.lit(f"personal_data_{kind.name}"))
        for kind, column in zip(KINDS, COUNTS, strict=True)
    ]
    return pl.when(total > limit).then(pl.coalesce(kinds))
