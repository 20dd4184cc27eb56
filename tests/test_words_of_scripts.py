"""Words: runs where scripts have spaces, characters with their marks where they have none."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.base.words import WORD, words_among

SPACED = (
    "aZ_9 .,'-\n\t\x1f\u00a0\u2028éÅßøı\u0301\u200c\u200d\u200bЖяЁΩάאשعربي١हिन्दीதமிழ்გ한국어ㄱㅏ"
    "བོད་སྐད།አማ\u1680ᐃ🙂👍🏽❤️1⃣½Ⅷ²·・。，「」〜…"
)
SPACELESS = "中文字々〇𠮷ひらカナーｶﾞㄅꀀไทยที่ลาວຂ່າវខ្មែរမြန်မာ၁ᥖᥭᦺᨲ᩠ᨠꪼꫀ𑜒𑜤ꦗꦮᬩᬮᬶ"


def found(text: str, pattern: str) -> list[str]:
    return pl.Series([text]).str.extract_all(pattern).to_list()[0]


@given(st.text(st.sampled_from(SPACED)), st.sampled_from([r"\w", r"\S", r"\p{L}\p{N}_'"]))
def test_words_of_scripts_with_spaces_are_runs(text, characters):
    assert found(text, words_among(characters)) == found(text, f"[{characters}]+")


def test_no_other_character_is_a_word_by_itself():
    alone = pl.Series([f"a{chr(code)}a" for code in range(0x110000) if not 0xD800 <= code < 0xE000])
    frame = pl.DataFrame(
        {"text": alone, "new": alone.str.extract_all(WORD), "old": alone.str.extract_all(r"\w+")}
    )
    changed = frame.filter(pl.col("new") != pl.col("old"))["text"].str.slice(1, 1)
    scripts = r"\p{Han}\p{Hiragana}\p{Katakana}ーｰﾞﾟ\p{Bopomofo}\p{Yi}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
    rarer = r"\p{Tai_Le}\p{New_Tai_Lue}\p{Tai_Tham}\p{Tai_Viet}\p{Ahom}\p{Javanese}\p{Balinese}"
    assert changed.str.contains(f"^[{scripts}{rarer}]$").all()
    assert len(changed) > 90_000


@given(st.text(st.sampled_from(SPACED + SPACELESS)), st.sampled_from([r"\w", r"\S"]))
def test_characters_of_other_scripts_divide_runs_and_lose_nothing(text, characters):
    words, runs = found(text, words_among(characters)), found(text, f"[{characters}]+")
    assert "".join(words) == "".join(runs)
    letters = rf"[[{SPACELESS}]&&\w--\p{{M}}]"
    assert all(len(found(word, letters)) in (0, 1) for word in words)
    assert all(
        len(found(word, letters)) == 0 or not found(word[1:], r"[\w--\p{M}--\p{Join_Control}]")
        for word in words
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2024年，使用Python编程。", ["2024", "年", "使", "用", "Python", "编", "程"]),
        ("コーヒーを飲む", [*"コーヒーを飲む"]),
        ("ดีที่สุด", ["ดี", "ที่", "สุ", "ด"]),
        ("មែរ", ["មែ", "រ"]),
        ("မြန်မာ", ["မြ", "န်", "မာ"]),
        ("བོད་སྐད།", ["བོད", "སྐད"]),
        ("한국어 단어", ["한국어", "단어"]),
    ],
)
def test_words_of_some_scripts(text, words):
    assert found(text, WORD) == words
