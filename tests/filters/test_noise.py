"""Rules against noise and boilerplate: what each finds, and what is passed by."""

import numpy as np
import polars as pl
import pytest

from tamis.filters import Plan, measured
from tamis.filters.boilerplate import REPEATED, SHARE, repeated_share

RIVER = (
    "The river rose to the bridge in the night, and nobody in the village had expected that to happen. "
    "They carried the chairs and the books from the school into the church on the hill, and by the end of "
    "the day a boat was tied to the door of the shop. In the morning the water fell, and the people went "
    "back to look at the damage."
)
CODE = "import os\n\ndef total(values):\n    found = 0\n    for one in values:\n        found += one\n"
CHAT = "USER: Hi.\nSYSTEM: What city?\nUSER: London\nSYSTEM: Which day?\nUSER: Monday\nSYSTEM: Booked."
SPANISH = (
    "Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados como están de razón y "
    "conciencia, deben comportarse fraternalmente los unos con los otros."
)
SHORT = (
    "Great zoom, poor battery.",
    "LOL",
    "I know, right? Best day ever!!",
    "Oil prices fell on Monday as traders bet on milder weather.",
    "Yakult shares rose 3 percent in Tokyo.",
    "10/10 would watch again",
    "\U0001f602\U0001f602\U0001f602 so good \U0001f44d\U0001f44d\U0001f44d",
)
MASH = "sdkfj wqpzx hgkdj vbcxz qwrtp lkjhg zxcvq mnbvq pqwjx fgdsk hjklz trwqp"


def broken(*texts: str, heuristics: tuple[str, ...] = ("noise",)) -> list[set[str]]:
    frame = pl.DataFrame({"text": texts}, schema={"text": pl.String})
    found = measured(frame, Plan(heuristics=heuristics))["broken"]
    return [set(one.split(",")) - {""} for one in found]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (" ".join(f"{number * 7.31:.2f}" for number in range(20)), "noise_letters"),
        ("9a1c77de 00ff13ab 5510c0d0 81f3a702 13370042", "noise_letters"),
        (RIVER.translate(str.maketrans("aeo", "áéö")).encode().decode("latin-1"), "noise_encoding"),
        (RIVER.translate(str.maketrans("aeo", "áéö")).encode().decode("cp1252", "replace"), "noise_encoding"),
        ("".join("\ufffd" if place % 9 == 0 else one for place, one in enumerate(RIVER)), "noise_encoding"),
        (RIVER.encode()[:200].decode("utf-16-le"), "noise_encoding"),
        ("".join(f"\\u{ord(one):04x}" for one in RIVER[:40]), "noise_encoding"),
        (MASH, "noise_random_letters"),
        ("over and over again " * 6, "noise_repetition"),
        ("Home | About us | Shop | Blog | Contact | Search | Log in", "noise_items"),
        ("".join(f'<li class="x">{one}</li>' for one in ("Home", "About", "Shop", "Blog")), "noise_items"),
        ("the chairs and the b ... to the door o ... nobody in the vil ... and by the en", "noise_items"),
        ("Home About Contact Login Register Shop Blog News Events Gallery", "noise_labels"),
    ],
)  # fmt: skip
def test_each_kind_of_noise_breaks_its_rule(text, rule):
    assert rule in broken(text)[0]


def test_shuffled_words_break_the_rule_of_order_however_they_are_shuffled():
    words = RIVER.split()
    shuffled = [" ".join(np.random.default_rng(seed).permutation(words)) for seed in range(40)]
    found = broken(*shuffled)
    assert sum(rules == {"noise_word_order"} for rules in found) >= 38


def test_what_is_sound_breaks_nothing_however_short():
    assert broken(RIVER, CODE, CHAT, SPANISH, *SHORT, "") == [set()] * (5 + len(SHORT))


CHINESE = (
    "人人生而自由，在尊严和权利上一律平等。",
    "他们赋有理性和良心，并应以兄弟关系的精神相对待！",
    "任何人不得加以酷刑，或施以残忍的待遇；",
    "人人有权享有生命、自由和人身安全。”",
    "法律之前人人平等，并有权享受法律的平等保护，不受任何歧视",
)


def test_paragraphs_in_a_script_without_spaces_are_no_items_and_menus_are():
    assert broken("\n".join(CHINESE), "\n\n".join(CHINESE), "".join(CHINESE)) == [set()] * 3
    menu = ("首页", "关于我们", "最新消息", "联系我们", "网站地图", "加入购物车", "用户注册")
    assert broken(" | ".join(menu), "\n".join(menu)) == [{"noise_items"}] * 2


def test_repetition_is_found_in_scripts_without_spaces():
    assert broken(CHINESE[0][:8] * 6, "สิทธิมนุษยชน" * 6) == [{"noise_repetition"}] * 2


def test_a_long_text_in_a_script_without_spaces_repeats_nothing_by_its_length_alone():
    draw = np.random.default_rng(0)
    syllables = ["".join(chr(one) for one in draw.integers(0x0E01, 0x0E2F, 3)) for _ in range(150)]
    long = "".join(draw.choice(syllables, 8_000))
    assert broken(long, long[:60] * 20) == [set(), {"noise_repetition"}]


def test_long_lines_in_a_script_without_spaces_are_the_same_only_as_a_whole():
    line = "".join(chr(0x4E00 + place) for place in range(150))
    frame = pl.DataFrame({"text": [line, f"{line[:120]}改{line[121:]}", line]})
    one, other, again = measured(frame, Plan(heuristics=("boilerplate",)))["unit_hashes"]
    assert one.to_list() == again.to_list() != other.to_list()


def test_code_and_conversations_are_passed_by_for_their_form_alone():
    phrase = "over and over again"
    said = "\n".join(f"{who}: {phrase}" for who in ("ANN", "BOB") * 4)
    assert broken(phrase * 8, said) == [{"noise_repetition"}, set()]
    table = "\n".join(f"x{number} = {number};" for number in range(20))
    assert broken(table) == [set()]
    assert "noise_random_letters" in broken(f"{MASH};")[0]  # no code, for its last mark


def test_other_languages_are_not_judged_by_the_order_of_english():
    words = SPANISH.split()
    shuffled = " ".join(np.random.default_rng(0).permutation(words))
    assert broken(shuffled) == [set()]


NOTICES = [
    "We use cookies on this site to make it better.",
    "Please switch on JavaScript to see this page.",
    "All rights are reserved by Example Media 2019.",
]


def pool(texts: dict[str, str]) -> pl.DataFrame:
    frame = pl.DataFrame({"doc_id": list(texts), "text": list(texts.values())})
    rows = frame.hstack(measured(frame, Plan(heuristics=("boilerplate",))))
    return rows.with_columns(n_chars=pl.col("text").str.len_chars())


def pages(count: int) -> dict[str, str]:
    return {f"p{n}": f"Story of {n}\n" + "\n".join(NOTICES) for n in range(count)}


def test_what_many_documents_say_is_boilerplate_where_it_is_most_of_one():
    articles = {f"a{n}": f"{RIVER} Part {n}x tells more.\n{NOTICES[0]}" for n in range(3)}
    found = dict(repeated_share(pool(pages(12) | articles)).iter_rows())
    characters = sum(len(notice) - 1 for notice in NOTICES)  # without the full stops
    assert found["p3"] == pytest.approx(characters / len(pages(12)["p3"]))
    assert set(found) == set(pages(12))  # of an article, the footer is too little
    broken_pages = pl.DataFrame({SHARE: list(found.values())}).select(REPEATED.broken).to_series()
    assert broken_pages.all()


def test_what_few_documents_say_is_none_and_neither_are_code_and_conversations():
    assert repeated_share(pool(pages(9))).is_empty()
    chats = {f"c{n}": f"ANN: {n}\n" + "\n".join(f"BOB: {notice}" for notice in NOTICES) for n in range(12)}
    code = {f"s{n}": f"x{n} = 1;\n" + "\n".join(f"y = '{notice}';" for notice in NOTICES) for n in range(12)}
    assert repeated_share(pool(chats | code)).is_empty()


def test_numbers_within_a_line_do_not_count_and_the_order_of_documents_does_not_matter():
    texts = {
        f"p{n}": f"You have read {n} of 5 free stories this month.\nCopyright {1990 + n} by Example Media."
        for n in range(12)
    }
    found = repeated_share(pool(texts)).sort("doc_id")
    assert len(found) == 12
    assert repeated_share(pool(texts).reverse()).sort("doc_id").equals(found)


NAMED = (
    "{site} uses small files on your device. By reading {site} you agree that {site} may do so.",
    "Copyright {year} {site}. No part of {address} may be copied without permission of the owners.",
    "Write to help@{address} with all questions about what you have bought from {site}.",
)


def test_names_and_addresses_of_a_site_do_not_hide_that_all_sites_say_the_same():
    def page(site: str, n: int) -> str:
        address = f"www.{site.lower().replace(' ', '')}.co.uk"
        return "\n".join(NAMED).format(site=site, year=1990 + n, address=address)

    sites = [
        f"{first} {second}"
        for first in ("North", "Blue Oak", "New", "Daily")
        for second in ("Times", "Labs", "Bank")
    ]
    found = repeated_share(pool({site: page(site, n) for n, site in enumerate(sites)}))
    assert len(found) == len(sites)
    assert found.select(REPEATED.broken).to_series().all()
    few = repeated_share(pool({site: page(site, n) for n, site in enumerate(sites[:9])}))
    assert few.is_empty()


def test_what_is_left_of_a_line_of_names_is_no_reason_to_call_it_repeated():
    lines = {
        f"p{n}": f"{who} of {where}\n{who} met {what} in {where}"
        for n, (who, what, where) in enumerate(
            (f"Anna {a}", f"Peter {b}", f"Saint {c}")
            for a, b, c in zip("ABCDEFGHIJKL", "MNOPQRSTUVWX", "LKJIHGFEDCBA", strict=True)
        )
    }
    assert repeated_share(pool(lines)).is_empty()


def test_a_formula_that_is_mostly_names_is_not_what_many_documents_say():
    """Statutes: what differs between them is most of the sentence."""
    acts = [
        "Small Business Enterprise Development",
        "Health Insurance Marketplace Improvement",
        "Clean Rivers",
    ]
    texts = {
        f"{act} {year}": (
            f"The {act} and Public Assistance Emergency Amendment Act is amended for the {year} Council."
        )
        for act in acts
        for year in range(2001, 2005)
    }
    assert repeated_share(pool(texts)).is_empty()


def test_units_of_a_document_depend_on_it_alone():
    texts = [*pages(3).values(), RIVER, CODE, ""]
    together = measured(pl.DataFrame({"text": texts}), Plan(heuristics=("boilerplate",)))
    alone = [measured(pl.DataFrame({"text": [text]}), Plan(heuristics=("boilerplate",))) for text in texts]
    assert together.equals(pl.concat(alone))
    assert together["unit_hashes"].list.len().to_list() == [3, 3, 3, 3, 0, 0]
