"""Personal data: what is found, and above all what is not."""

import random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.filters import COUNTS
from tamis.filters.checked_numbers import is_card_number, is_iban
from tamis.filters.personal_data import personal_data


def counts(text: str) -> dict[str, int]:
    found = personal_data(pl.DataFrame({"text": [text]})).row(0, named=True)
    return {name.removesuffix("_count"): count for name, count in found.items() if count}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Write to jane.doe+x@mail.uni-bonn.de, or to j@doe.io.", {"email": 2}),
        ("call +49 151 2745 6180, (212) 867-5309 or 212-867-5309!", {"phone": 3}),
        ("tel:+442079460123", {"phone": 1}),
        ("from 81.2.69.142 and 2a02:6b8:0:1::feed, seen.", {"ip_address": 2}),
        ("the server is 81.2.69.142.", {"ip_address": 1}),
        ("paid with 4532 0151 1283 0366 or 4532015112830366 or 4532-0151-1283-0366", {"card": 3}),
        ("to DE75 5121 0800 1245 1261 99, or GB94BARC10201530093459.", {"iban": 2}),
        ("her number: 536-90-4399", {"ssn": 1}),
    ],
)
def test_what_is_personal_is_counted(text, found):
    assert counts(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "bob@example.com, x@sub.example.org, a@b.test, you@yourdomain.com, git@github.com, user@host.de",
        "icon@2x.png and @decorator and a @ b and user@localhost",
        "version 1.2.3.4, v81.2.69.142, release 81.2.69.142 and 10.20.30.4, section 3.12.5.31",
        "127.0.0.1 10.0.0.1 192.168.7.77 172.20.1.99 192.0.2.44 198.51.100.7 203.0.113.99 255.255.255.0",
        "81.2.69.142.5 and 81.2.69.256 and 1.81.2.69.142 and 081.2.69.142",
        "::1 2001:db8::1 fe80::1 12:34:56 std::vector aa:bb:cc:dd:ee:ff",
        "4111 1111 1111 1111, 4242424242424242, 378282246310005",
        "4532015112830367 and 145320151128303661 and 0.4532015112830366 and 4532 01511283 0366",
        "DE89 3704 0044 0532 0130 00 and GB82WEST12345698765432 and DE76512108001245126199",
        "078-05-1120, 000-12-3456, 666-12-3456, 912-12-3456, 536-00-4399, 536-90-0000, 1536-90-4399",
        "555-0123, (212) 555-0199, 1234567890, 2021-01-02 12:30:45, 502 503 1027, +1, +123456",
        "3.141592653589793 and 1e-10 and 0x7fff5fbff8c0 and 1,234,567,890.12",
        "",
    ],
)
def test_what_manuals_and_numbers_hold_is_not(text):
    assert counts(text) == {}


def luhn(digits: str) -> bool:
    doubled = [int(d) * (1 + place % 2) for place, d in enumerate(reversed(digits))]
    return sum(value // 10 + value % 10 for value in doubled) % 10 == 0


@settings(deadline=None)
@given(st.integers(0, 10**15 - 1))
def test_one_last_digit_in_ten_makes_a_card_number(middle):
    numbers = [f"4{middle:015d}"[:15] + str(last) for last in range(10)]
    frame = pl.DataFrame({"found": numbers}).select(is_card_number(pl.col("found")))
    expected = [luhn(number) for number in numbers]
    assert sum(expected) == 1
    assert [a for a, b in zip(expected, frame["found"], strict=True) if a != b] in ([], [True])  # a test card


@settings(deadline=None)
@given(st.from_regex(r"\A[A-Z]{4}[0-9]{14}\Z"))
def test_one_pair_of_check_digits_makes_an_account_number(account):
    numbers = [f"GB{check:02d}{account}" for check in range(2, 99)]
    found = pl.DataFrame({"found": numbers}).select(is_iban(pl.col("found")))["found"]
    expected = [int("".join(str(int(c, 36)) for c in n[4:] + n[:4])) % 97 == 1 for n in numbers]
    assert sum(expected) == 1
    assert found.to_list() == expected


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=80))
def test_any_text_is_counted(text):
    assert set(counts(text)) <= {name.removesuffix("_count") for name in COUNTS}


def test_ordinary_numbers_raise_hardly_an_alarm():
    draw = random.Random(0)
    words = [
        f"{draw.random():.{draw.randint(1, 9)}f} {draw.randint(0, 10 ** draw.randint(1, 9))}"
        for _ in range(9_000)
    ]
    assert sum(counts(" ".join(words)).values()) == 0
