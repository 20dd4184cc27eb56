"""What a word is, for all that compares texts by their words.

A word is a run of letters, digits and underscores. In scripts that are written without spaces a run would be
a whole clause, which hardly any two texts share; there each character, with the marks that follow it, is a
word of its own. Korean has spaces, and Tibetan a dot after each syllable: their words are runs.

Patterns for regular expressions of polars, whose classes know scripts and differences (Python's do not).
"""

# Unicode's ideographs and syllables, its scripts whose lines break within a run by a dictionary alone (line
# breaking class SA of UAX 14), and Javanese and Balinese.
_SCRIPTS = (
    *("Han", "Hiragana", "Katakana", "Bopomofo", "Yi", "Thai", "Lao", "Khmer", "Myanmar"),
    *("Tai_Le", "New_Tai_Lue", "Tai_Tham", "Tai_Viet", "Ahom", "Javanese", "Balinese"),
)
_KANA_SIGNS = "ーｰﾞﾟ"  # of Hiragana and Katakana alike, so of neither script
_SPACELESS = "".join(rf"\p{{{script}}}" for script in _SCRIPTS) + _KANA_SIGNS
SPACELESS = rf"[[{_SPACELESS}]&&\w--\p{{M}}]"
"""A letter or digit of a script that is written without spaces."""
CHARACTER = rf"{SPACELESS}[\p{{M}}\p{{Join_Control}}]*"
"""The same with the vowel signs, tone marks and other marks that follow it."""


def words_among(characters: str) -> str:
    r"""Return the pattern of words that consist of these characters, a class as `\w` or several in a row."""
    return rf"{CHARACTER}|[[{characters}]--{SPACELESS}]+"


WORD = words_among(r"\w")
