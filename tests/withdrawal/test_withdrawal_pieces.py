"""Withdrawn texts in excerpts, found in any script and as every format of raw rows writes them."""

import json

import pytest
from projects import rows_of

from tamis.corpus import document_id
from tamis.readers.text import excerpt
from tamis.store.home import Home
from tamis.withdrawal.asking import Asking, WithdrawalReason
from tamis.withdrawal.quotations import showing
from tamis.withdrawal.verifying import verify
from tamis.withdrawal.withdrawing import withdraw

TEXTS = {
    "latin": "A letter of Ann to her brother about the house in the lane behind the church.",
    "cyrillic": "Секретное письмо господина Петрова к госпоже Ивановой о продаже дома в деревне.",
    "chinese": "秘密信件：王先生致李女士关于在上海出售房屋的事宜，价格为一百万元，请勿外传此信息给任何人。",
    "short chinese": "王先生的电话号码不公开",
    "accents": "L’été où l’abbé déjà âgé créa l’œuvre — «été» à la fenêtre, là-bas, naïve et émue.",
    "short lines": "My name is Ann\nI live in Grey Lane\nMy phone is 555 01 22\nI owe 900 pounds",
    "code": "x = \"a\"\ny = 'secret_k'\nf(x, \"p4ss\", 'C:\\new\\table')\nif x < y:\n\tz('<b>')",
    "emoji": "Ann 😀 met Bob 😀 and Eve 😀 at the old harbour 😀 behind the blue house 😀 on Monday.",
}
OTHER = "Simmer the butter with garlic and roast an onion with flour and dough in the oven."
WRITTEN = {
    "as it is": lambda text: text,
    "JSON": lambda text: json.dumps({"n": 1, "text": text}, ensure_ascii=False) + " oops",
    "escaped JSON": lambda text: json.dumps({"text": text}) + " oops",
    "CSV": lambda text: '1,"' + text.replace('"', '""') + '",,,',
    "Python": lambda text: [text],
    "UTF-16": lambda text: text.encode("utf-16"),
}
ASCII = ("latin", "short lines", "code")
"""Bytes of other encodings are shown as escapes, which tell of ASCII alone what it was."""
SHOWN = [(kind, way) for kind in TEXTS for way in WRITTEN if way != "UTF-16" or kind in ASCII]


@pytest.mark.parametrize(("kind", "way"), SHOWN)
def test_an_excerpt_shows_a_text_however_its_row_was_written(kind, way):
    shown = excerpt(WRITTEN[way](TEXTS[kind]))
    others = [text for name, text in TEXTS.items() if name != kind]
    assert showing([shown, ""], [OTHER, TEXTS[kind]]) == [True, False]
    assert showing([shown], [OTHER, *others]) == [False]


@pytest.mark.parametrize("kind", TEXTS)
def test_nothing_that_shows_it_is_left_in_quarantine(tmp_path, kind):
    home, text = Home(tmp_path), TEXTS[kind]
    home.store.append("documents", rows_of("documents", [{"doc_id": document_id(text), "text": text}]))
    rows = [WRITTEN["JSON"](text), WRITTEN["escaped JSON"](text), OTHER]
    bad = [
        {"shard": "web__a", "row": row, "reason": "malformed_row", "detail": "", "excerpt": excerpt(raw)}
        for row, raw in enumerate(rows)
    ]
    home.store.append("quarantine", rows_of("quarantine", bad))
    asking = Asking(store=home.store)
    asking.ids([document_id(text)])
    withdraw(home, asking.done(), WithdrawalReason.MISTAKE)
    assert home.store.read("quarantine").sort("row")["excerpt"].to_list() == ["", "", OTHER]
    home.store.append("quarantine", rows_of("quarantine", [bad[1] | {"row": 9}]))
    assert any(
        "quarantine" in problem and "part of the given text" in problem
        for problem in verify(home, text).problems
    )
    assert any("quarantine" in problem and "1 row " in problem for problem in verify(home).problems)


def test_where_nothing_is_shown_nothing_is_found():
    assert showing(["", "{}"], [OTHER]) == [False, False]
    assert showing([], [OTHER]) == []
    assert showing([OTHER], []) == [False]


def test_a_quarantine_from_before_rows_were_counted_is_erased_too(tmp_path):
    home, text = Home(tmp_path), TEXTS["latin"]
    home.store.append("documents", rows_of("documents", [{"doc_id": document_id(text), "text": text}]))
    bad = {"shard": "web__a", "row": 0, "reason": "malformed_row", "detail": "bad", "excerpt": excerpt(text)}
    rows = rows_of("quarantine", [bad]).drop_columns(["rows_lost"])
    home.store._connect().create_table("quarantine", rows)
    asking = Asking(store=home.store)
    asking.ids([document_id(text)])
    withdraw(home, asking.done(), WithdrawalReason.MISTAKE)
    assert home.store.read("quarantine", ["excerpt"])["excerpt"].to_list() == [""]
    assert verify(home, text).problems == []
