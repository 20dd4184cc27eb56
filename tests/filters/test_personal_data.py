"""Personal data: what is found, and above all what is not."""

import random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.filters import COUNTS
from tamis.filters.personal_data import is_card_number, is_iban, personal_data


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
        ("to de75 5121 0800 1245 1261 99, or gb94barc10201530093459.", {"iban": 2}),
        ("her number: 536-90-4399", {"ssn": 1}),
        ("her number: 536 90 4399, born in May", {"ssn": 1}),
        ("SSN 536 90 4399.", {"ssn": 1}),
        ("1-415-867-5309 or 1 (415) 867-5309 or 415.867.5309 or 1 415 867 5309", {"phone": 4}),
        ("in London 020 7946 0958 or (020) 7946 0958, in Leeds 0113 496 1235", {"phone": 3}),
        ("in Berlin 030 20931170 or 030/20931170, mobile 0171-1234560", {"phone": 3}),
        ("in Paris 01 42 68 53 00 or 01.42.68.53.00 or 06-42-34-56-18", {"phone": 3}),
        ("Tel: 4158675309, phone 415 867 5309, Fax: 0151 2745 6180", {"phone": 3}),
        ("call me at 0171 1234560 now", {"phone": 1}),
        ("ping 81.2.69.142, http://81.2.69.142/x, host=81.2.69.142, root@81.2.69.142", {"ip_address": 4}),
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
        "555-867-5309, 1-415-555-0199, 1-415-867-530, 11-415-867-5309, 1-415-867-53099",
        "415 867 5309 and 502 503 1027 and 4158675309 stand in a table, 020 7946 095 is too short",
        "2 01 42 68 53 00 and 01 42 68 53 00 7 and 01 02 03 04 05 and 09 10 11 12 13",
        "01.02.2021, 2021-01-02 03, 01/02/2021 12:30, 978-0-306-40615-7, 0-306-40615-2, 0.35 0.44 0.55",
        "010.020.030.040 and 00:12:34 and 0001 0002 0003 and 0x41 0x42 and 007 008 009",
        "call 12 34 56 78, phone 2021-01-02, tel 1234567890, fax 555-0123, cell 0 1 2 3 4 5 6",
        "+1 234 and +12 34 56 78 90 12 and 5 +49 1 and +1 (555) 867-5309",
        "12 536 90 4399 and 536 90 4399 12 and 536 90 4399.5 and 536 90-4399",
        "666 12 3456 and 078 05 1120 and 536 00 4399",
        "Firefox/115.0.250.1, numpy 115.0.250.1, (115.0.250.1), Chrome 115.0.57.110, build 81.2.69.142",
        "versions 81.2.69.142, Version: 81.2.69.142, tool-81.2.69.142.tar.gz, tool==81.2.69.142",
        "De75 5121 0800 1245 1261 99 and gb94barc10201530093458 and de89 3704 0044 0532 0130 00",
        "3.141592653589793 and 1e-10 and 0x7fff5fbff8c0 and 1,234,567,890.12",
        "",
    ],
)
def test_what_manuals_and_numbers_hold_is_not(text):
    assert counts(text) == {}


def test_national_numbers_are_those_of_the_regions_that_are_asked_for():
    texts = pl.DataFrame({"text": ["020 7946 0958", "415-867-5309", "02 9374 4000", "+61 2 9374 4000"]})
    found = {
        regions: personal_data(texts, regions)["phone_count"].to_list()
        for regions in [(), ("GB",), ("US",), ("AU",), ("US", "AU")]
    }
    assert found == {
        (): [0, 0, 0, 1],
        ("GB",): [1, 0, 0, 1],
        ("US",): [0, 1, 0, 1],
        ("AU",): [0, 0, 1, 1],
        ("US", "AU"): [0, 1, 1, 1],
    }


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


@settings(deadline=None, max_examples=30)  # of 97 numbers each
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
