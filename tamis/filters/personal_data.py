"""Traces of persons in a text: how many e-mail addresses, phone, card and account numbers, and the like."""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from tamis.filters import phone_numbers
from tamis.filters.rule import TEXT

_LONGEST_CARD, _LONGEST_IBAN = 19, 34
# Issuer's prefix and length: Visa, Mastercard, American Express, Discover, JCB, Diners Club.
_ISSUED = (
    r"^(?:4\d{12}(?:\d{3}){0,2}|(?:5[1-5]\d{2}|222[1-9]|22[3-9]\d|2[3-6]\d{2}|27[01]\d|2720)\d{12}|3[47]\d{13}|"
    r"6(?:011|4[4-9]\d|5\d{2})\d{12}|35(?:2[89]|[3-8]\d)\d{12}|3(?:0[0-5]|[689]\d)\d{11})$"
)
_GROUPED = "|".join(
    rf"\d{{4}}{mark}\d{{4}}{mark}\d{{4}}{mark}\d{{4}}|\d{{4}}{mark}\d{{6}}{mark}\d{{4,5}}" for mark in " -"
)
# Numbers that payment providers publish for tests.
_TEST_CARDS = (
    "4111111111111111|4242424242424242|4012888888881881|4222222222222|4000056655665556|"
    "5555555555554444|5105105105105100|5200828282828210|2223003122003222|378282246310005|"
    "371449635398431|378734493671000|6011111111111117|6011000990139424|30569309025904|38520000023237|"
    "3530111333300000|3566002020360505"
)
_LENGTHS = (
    "AD24|AE23|AL28|AT20|AZ28|BA20|BE16|BG22|BH22|BR29|BY28|CH21|CR22|CY28|CZ24|DE22|DK18|DO28|EE20|"
    "EG29|ES24|FI18|FO18|FR27|GB22|GE22|GI23|GL18|GR27|GT28|HR21|HU28|IE22|IL23|IQ23|IS26|IT27|JO30|"
    "KW30|KZ20|LB28|LC32|LI21|LT20|LU20|LV21|MC27|MD24|ME22|MK19|MR27|MT31|MU30|NL18|NO15|PK24|PL28|"
    "PS29|PT25|QA29|RO24|RS22|SA24|SE24|SI19|SK24|SM27|TL23|TN24|TR26|UA29|VA22|VG24|XK20"
)
# Those of the registry of SWIFT and of manuals.
_EXAMPLE_IBANS = (
    "GB82WEST12345698765432|GB29NWBK60161331926819|GB33BUKB20201555555555|DE89370400440532013000|"
    "DE91100000000123456789|FR1420041010050500013M02606|NL91ABNA0417164300|CH9300762011623852957|"
    "ES9121000418450200051332|IT60X0542811101000000123456|BE68539007547034|AT611904300234573201|"
    "IE29AIBK93115212345678|PL61109010140000071219812874|SE4550000000058398257466|NO9386011117947"
)
FOUND = pl.col("found")
# E-mail addresses of example domains, of no person, and names of files.
_NO_EMAIL = (
    r"(?:@(?:[a-z0-9-]+\.)*(?:example\.(?:com|org|net|edu)|your(?:domain|company|email|mail|site)\.com|"
    r"[a-z0-9-]+\.(?:example|test|invalid|localhost|local|internal))$)|"
    r"(?:^(?:git|svn|hg|user|username|name|you|your[._-]?name|foo|bar|noreply|no-reply)@)|"
    r"(?:\.(?:png|jpe?g|gif|svg|webp|ico|js|css|py|html?|json)$)"
)
_EXAMPLE_SSNS = ("078-05-1120", "219-09-9999", "123-45-6789", "111-11-1111")


def is_card_number(found: pl.Expr) -> pl.Expr:
    """Return whether a string is a card's number: its groups, an issuer's prefix and length, Luhn's sum."""
    digits = found.str.replace_all(r"[ -]", "")
    return (
        found.str.contains(rf"^(?:\d+|{_GROUPED})$")
        & digits.str.contains(_ISSUED)
        & (_luhn(digits) % 10 == 0)
        & ~digits.str.contains(f"^(?:{_TEST_CARDS})$")
    )


def _luhn(digits: pl.Expr) -> pl.Expr:
    padded = digits.str.zfill(_LONGEST_CARD)
    values = [
        padded.str.slice(place, 1).cast(pl.Int64, strict=False).fill_null(0) for place in range(_LONGEST_CARD)
    ]
    # Every second digit from the right is doubled, its digits added.
    return pl.sum_horizontal(
        value if (_LONGEST_CARD - place) % 2 else (2 * value) // 10 + (2 * value) % 10
        for place, value in enumerate(values)
    )


def is_iban(found: pl.Expr) -> pl.Expr:
    """Return whether a string is an account number: a country's length, remainder 1 when divided by 97."""
    number = found.str.replace_all(" ", "", literal=True)
    one_case = number.str.contains(r"^(?:[A-Z0-9]+|[a-z0-9]+)$")  # mixed case is a name or a key
    number = number.str.to_uppercase()
    length = pl.concat_str(number.str.slice(0, 2), number.str.len_chars().cast(pl.String))
    return (
        one_case
        & number.str.contains(r"^[A-Z]{2}\d{2}[A-Z0-9]+$")
        & length.str.contains(f"^(?:{_LENGTHS})$")
        & (_remainder(number) == 1)
        & ~number.str.contains(f"^(?:{_EXAMPLE_IBANS})$")
    )


def _remainder(number: pl.Expr) -> pl.Expr:
    """The number with its first four characters last and A to Z as 10 to 35, modulo 97."""
    turned = pl.concat_str(number.str.slice(4), number.str.slice(0, 4))
    rest: pl.Expr = pl.lit(0, dtype=pl.Int64)
    for place in range(_LONGEST_IBAN):
        value = turned.str.slice(place, 1).str.to_integer(base=36, strict=False).cast(pl.Int64)
        factor = pl.when(value.is_null()).then(1).when(value > 9).then(100).otherwise(10)
        rest = (rest * factor + value.fill_null(0)) % 97  # each step once, or the expression doubles
    return rest


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of personal data: what may be it, and whether it is.

    `counts` is None for phone numbers, about which their regions decide.
    """

    name: str
    pattern: str
    counts: Callable[[], pl.Expr] | None = None


def _is_email() -> pl.Expr:
    return ~FOUND.str.to_lowercase().str.contains(_NO_EMAIL)


def _is_ip_address() -> pl.Expr:
    """Public and of version 4, or global unicast of version 6; neither version numbers nor examples."""
    halves, groups = FOUND.str.count_matches("::"), FOUND.str.count_matches("[0-9a-fA-F]+")
    whole = ((groups == 8) & (halves == 0)) | ((groups < 8) & (halves == 1))
    is_v6 = whole & ~FOUND.str.contains(r"(?i)^2001:0?db8:")
    return pl.when(FOUND.str.contains(":", literal=True)).then(is_v6).otherwise(_is_ip_v4())


def _is_ip_v4() -> pl.Expr:
    plain = FOUND.str.strip_suffix(".")
    parts = plain.str.split(".")
    first, second, third = (
        parts.list.get(place, null_on_oob=True).cast(pl.Int64, strict=False) for place in range(3)
    )
    numbers = parts.list.eval(pl.element().cast(pl.Int64, strict=False))
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
    return (
        plain.str.contains(r"^(?:(?:0|[1-9]\d{0,2})\.){3}(?:0|[1-9]\d{0,2})$")
        # Of small numbers it is a version or section number rather than a public address.
        & numbers.list.max().is_between(32, 255)
        & ~reserved
        # 115.0.250.1: programs number their releases so, and one public address in 256 looks like it
        & ~(second == 0)
    )


def _is_ssn() -> pl.Expr:
    area, group = r"(?:00[1-9]|0[1-9]\d|[1-8]\d\d)", r"(?:0[1-9]|[1-9]\d)"
    return (
        FOUND.str.contains(f"^(?:{area}-{group}-|{area} {group} )" + r"\d{4}$")
        & ~FOUND.str.contains(r"^666|0000$")
        & ~FOUND.str.replace_all(" ", "-").is_in(_EXAMPLE_SSNS)
    )


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
    counted = found.filter(counts).group_by("row").agg(pl.len().cast(pl.UInt32).alias("count"))
    return (
        candidates.select("row")
        .join(counted, on="row", how="left", maintain_order="left")["count"]
        .fill_null(0)
    )
