"""Numbers that carry a check: payment cards (Luhn, ISO/IEC 7812) and accounts (IBAN, ISO 13616, mod 97)."""

import polars as pl

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


def is_card_number(found: pl.Expr) -> pl.Expr:
    """Whether a string is a card's number: its groups, an issuer's prefix and length, Luhn's sum."""
    digits = found.str.replace_all(r"[ -]", "")
    form = found.str.contains(rf"^(?:\d+|{_GROUPED})$")
    return (
        form
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
    doubled = [(2 * value) // 10 + (2 * value) % 10 for value in values]
    odd = _LONGEST_CARD % 2
    return pl.sum_horizontal(
        value if place % 2 != odd else twice
        for place, (value, twice) in enumerate(zip(values, doubled, strict=True))
    )


def is_iban(found: pl.Expr) -> pl.Expr:
    """Whether a string is an account number: a country's length, remainder 1 when divided by 97."""
    number = found.str.replace_all(" ", "", literal=True)
    one_case = number.str.contains(r"^(?:[A-Z0-9]+|[a-z0-9]+)$")  # mixed case is a name or a key
    number = number.str.to_uppercase()
    length = pl.concat_str(number.str.slice(0, 2), number.str.len_chars().cast(pl.String))
    form = number.str.contains(r"^[A-Z]{2}\d{2}[A-Z0-9]+$") & length.str.contains(f"^(?:{_LENGTHS})$")
    return one_case & form & (_remainder(number) == 1) & ~number.str.contains(f"^(?:{_EXAMPLE_IBANS})$")


def _remainder(number: pl.Expr) -> pl.Expr:
    """The number with its first four characters last and A to Z as 10 to 35, modulo 97."""
    turned = pl.concat_str(number.str.slice(4), number.str.slice(0, 4))
    rest: pl.Expr = pl.lit(0, dtype=pl.Int64)
    for place in range(_LONGEST_IBAN):
        value = turned.str.slice(place, 1).str.to_integer(base=36, strict=False).cast(pl.Int64)
        factor = pl.when(value.is_null()).then(1).when(value > 9).then(100).otherwise(10)
        rest = (rest * factor + value.fill_null(0)) % 97  # each step once, or the expression doubles
    return rest
