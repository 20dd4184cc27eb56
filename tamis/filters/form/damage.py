"""Damage to texts, drawn: what a model of form learns from, by kinds in ten families.

A maker takes a text and a generator and returns the text damaged in its way, with a strength that it draws.
It needs nothing but the text, so that any pool, in any language with spaces, can be damaged. `damaged` draws
a kind for each text; a row depends on the text, the kind and the seed alone.
"""

import base64
import quopri
import re
import textwrap
from collections.abc import Callable, Sequence
from hashlib import sha256

import numpy as np
import polars as pl

Generator = np.random.Generator
Maker = Callable[[str, Generator], str]
LONGEST = 3_000
"""Characters of a text that are damaged; the rest is left out."""
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_VOWELS = re.compile("[aeiouAEIOU]")
_LOOK_ALIKE = (
    *(("rn", "m"), ("m", "rn"), ("cl", "d"), ("d", "cl"), ("li", "h"), ("h", "li"), ("vv", "w"), ("w", "vv")),
    *(("e", "c"), ("c", "e"), ("l", "1"), ("i", "l"), ("t", "f"), ("f", "t"), ("o", "0"), ("s", "5")),
    *(("b", "6"), ("g", "9"), ("a", "o"), ("u", "ii"), ("n", "ri"), ("B", "8"), ("I", "l"), ("S", "5")),
    *(("O", "0"), (" ", ""), (".", ","), (",", "."), ("y", "v"), ("fi", "ii"), ("tt", "ll")),
)
_LEET = str.maketrans({"a": "4", "e": "3", "i": "1", "o": "0", "s": "5", "t": "7", "b": "8", "g": "9"})
_ROT = str.maketrans(
    _LETTERS + _LETTERS.upper(),
    _LETTERS[13:] + _LETTERS[:13] + _LETTERS[13:].upper() + _LETTERS[:13].upper(),
)
_ACCENTS = str.maketrans({"a": "á", "e": "é", "o": "ö", "u": "ü", "i": "ï", "'": "’", '"': "“", "-": "–"})
_ROWS_OF_KEYS = ("qwertyuiop", "asdfghjkl;", "zxcvbnm,.")
_ONSETS = ("b", "br", "c", "d", "f", "gl", "h", "j", "l", "m", "n", "p", "qu", "r", "s", "st", "t", "v", "")
_HOMOGLYPHS = dict(
    zip(
        "aceopxyiABEHKMOPTXn",
        (
            "аα",
            "сϲ",
            "еє",
            "оο",
            "рρ",
            "х",
            "у",
            "іι",
            "АΑ",
            "ВΒ",
            "ЕΕ",
            "НΗ",
            "КΚ",
            "МΜ",
            "ОΟ",
            "РΡ",
            "ТΤ",
            "ХΧ",
            "η",
        ),
        strict=True,
    )
)
_ACCENTED = dict(
    zip(
        "aceinouyAEO",
        ("áàâä", "çč", "éèêë", "íìîï", "ñň", "óòôö", "úùûü", "ýÿ", "ÁÀÂ", "ÉÈÊ", "ÓÒÔ"),
        strict=True,
    )
)
_TAGS = ("div", "span", "li", "td", "p", "a", "section", "b", "tr", "h3", "em", "ul")
_ATTRIBUTES = ("class", "id", "href", "style", "data-id", "title", "onclick", "src")


def _some(generator: Generator, low: float, high: float) -> float:
    """Draw a strength, small ones as likely by factor as large ones."""
    return float(np.exp(generator.uniform(np.log(low), np.log(high))))


def _pick(generator: Generator, choices: Sequence[str]) -> str:
    return choices[int(generator.integers(len(choices)))]


def _at_characters(text: str, share: float, change: Callable[[str], str], generator: Generator) -> str:
    """Replace this share of the characters."""
    hit = generator.random(len(text)) < share
    return "".join(change(one) if broken else one for one, broken in zip(text, hit, strict=True))


def _word_lengths(words: Sequence[str], generator: Generator, low: int, high: int) -> list[list[str]]:
    """Cut words into runs of drawn lengths, low to high."""
    lengths = generator.integers(low, high + 1, len(words) // low + 1)
    ends = np.cumsum(lengths)
    return [
        list(words[start:end]) for start, end in zip([0, *ends[:-1]], ends, strict=True) if start < len(words)
    ]


# Characters


def _look_alikes(text: str, generator: Generator) -> str:
    share = _some(generator, 0.15, 0.6)
    pairs = [_LOOK_ALIKE[place] for place in generator.permutation(len(_LOOK_ALIKE))[:16]]
    pattern = re.compile("|".join(re.escape(old) for old, _ in sorted(pairs, key=lambda pair: -len(pair[0]))))
    new = dict(pairs)
    return pattern.sub(
        lambda match: new[match.group()] if generator.random() < share else match.group(), text
    )


def _typos(text: str, generator: Generator) -> str:
    share, out, at = _some(generator, 0.06, 0.25), [], 0
    while at < len(text):
        if not text[at].isalpha() or generator.random() >= share:
            out.append(text[at])
        else:
            kind = int(generator.integers(4))
            if kind == 0 and at + 1 < len(text):
                out += [text[at + 1], text[at]]
                at += 1
            elif kind == 1:
                out += [text[at], _pick(generator, _LETTERS)]
            elif kind == 2:
                out.append(_pick(generator, _LETTERS))
        at += 1
    return "".join(out)


def _lost_characters(text: str, generator: Generator) -> str:
    return _at_characters(text, _some(generator, 0.08, 0.35), lambda one: "", generator)


def _replaced_characters(text: str, generator: Generator) -> str:
    kind = int(generator.integers(3))
    among = _LETTERS if kind == 0 else "~^|`#*_=<>[]{}" if kind == 1 else "0123456789"
    share = _some(generator, 0.06, 0.3)
    return _at_characters(text, share, lambda one: _pick(generator, among), generator)


def _spaced_letters(text: str, generator: Generator) -> str:
    gap = " " if generator.random() < 0.7 else _pick(generator, ("-", ".", "  "))
    share = generator.uniform(0.4, 1.0)
    return " ".join(gap.join(word) if generator.random() < share else word for word in text.split())


def _random_case(text: str, generator: Generator) -> str:
    return _at_characters(text, _some(generator, 0.1, 0.6), str.swapcase, generator)


def _leet(text: str, generator: Generator) -> str:
    return _at_characters(text, generator.uniform(0.3, 1.0), lambda one: one.translate(_LEET), generator)


def _no_vowels(text: str, generator: Generator) -> str:
    share = generator.uniform(0.4, 1.0)
    return _VOWELS.sub(lambda match: "" if generator.random() < share else match.group(), text)


def _mash(text: str, generator: Generator) -> str:
    def mashed(word: str) -> str:
        row = _pick(generator, _ROWS_OF_KEYS) if generator.random() < 0.6 else "".join(_ROWS_OF_KEYS)
        return "".join(row[key] for key in generator.integers(0, len(row), len(word)))

    return " ".join(map(mashed, text.split()))


def _rotated(text: str, generator: Generator) -> str:
    return text.translate(_ROT)


def _homoglyphs(text: str, generator: Generator) -> str:
    """Latin letters as Greek, Cyrillic or accented letters that look like them."""
    table = _HOMOGLYPHS if generator.random() < 0.6 else _ACCENTED
    share = _some(generator, 0.15, 1.0)
    return _at_characters(text, share, lambda one: _pick(generator, table.get(one, (one,))), generator)


def _sprinkled_marks(text: str, generator: Generator) -> str:
    among = tuple(".,;:!?'\"()") if generator.random() < 0.5 else tuple("|/\\*~^#@+=<>{}[]_")
    share, gap = _some(generator, 0.2, 0.8), _pick(generator, ("", " "))
    words = text.split()
    return " ".join(
        f"{word}{gap}{_pick(generator, among)}" if generator.random() < share else word for word in words
    )


def _beside_on_keys(text: str, generator: Generator) -> str:
    """Hands one key off their place, for all or a part of the words."""
    away = 1 if generator.random() < 0.5 else -1
    rows = [row + row.upper() for row in _ROWS_OF_KEYS]
    table = {one: row[(at + away) % len(row)] for row in rows for at, one in enumerate(row)}
    share = generator.uniform(0.4, 1.0)
    return " ".join(
        "".join(table.get(one, one) for one in word) if generator.random() < share else word
        for word in text.split()
    )


# Words


def _swapped_neighbours(text: str, generator: Generator) -> str:
    words, share = text.split(), generator.uniform(0.5, 1.0)
    for at in range(0, len(words) - 1, 2):
        if generator.random() < share:
            words[at], words[at + 1] = words[at + 1], words[at]
    return " ".join(words)


def _made_up_words(text: str, generator: Generator) -> str:
    """Words of drawn syllables in the place of all or most words."""
    share = generator.uniform(0.5, 1.0)

    def made(word: str) -> str:
        parts = (_pick(generator, _ONSETS) + _pick(generator, "aeiou") for _ in range(len(word) // 3 + 1))
        return "".join(parts) + _pick(generator, ("", "s", "n", "m", "t"))

    return " ".join(made(word) if generator.random() < share else word for word in text.split())


def _shuffled_words(text: str, generator: Generator) -> str:
    words = text.split()
    if generator.random() < 0.5:
        words = [word.strip(".,;:!?\"'()").lower() for word in words]
    if generator.random() < 0.5:
        return " ".join(generator.permutation(words).tolist())
    reach = int(generator.integers(4, 12))  # near their place
    order = np.argsort(np.arange(len(words)) + generator.uniform(0, reach, len(words)), kind="stable")
    return " ".join(words[place] for place in order)


def _sorted_words(text: str, generator: Generator) -> str:
    words = sorted(set(re.findall(r"\w+", text.lower())))
    return _pick(generator, (" ", ", ", "\n")).join(words)


def _no_short_words(text: str, generator: Generator) -> str:
    longest = int(generator.integers(3, 5))
    return " ".join(word for word in text.split() if len(word.strip(".,;:!?\"'()")) > longest)


def _joined_words(text: str, generator: Generator) -> str:
    share = generator.uniform(0.3, 1.0)
    return re.sub(" +", lambda match: "" if generator.random() < share else " ", text)


def _split_words(text: str, generator: Generator) -> str:
    return _at_characters(text, _some(generator, 0.1, 0.4), lambda one: one + " ", generator)


def _reversed_words(text: str, generator: Generator) -> str:
    return " ".join(word[::-1] for word in text.split())


def _keywords(text: str, generator: Generator) -> str:
    words = sorted({word.strip(".,;:!?\"'()") for word in text.split() if len(word) > 5})
    words = generator.permutation(words or ["word"]).tolist()
    count = max(len(text) // 9, 6)
    runs = _word_lengths(words * (count // len(words) + 1), generator, 1, 3)
    if generator.random() < 0.5:
        runs = [[word.capitalize() for word in run] for run in runs]
    return _pick(generator, (", ", " | ", " #", " ", "; ")).join(" ".join(run) for run in runs)[: len(text)]


# Lines


def _broken_lines(text: str, generator: Generator) -> str:
    width = int(generator.integers(4, 28))
    end = _pick(generator, ("\n", "-\n", "\n\n", " \n"))
    return end.join(text[start : start + width] for start in range(0, len(text), width))


def _word_a_line(text: str, generator: Generator) -> str:
    runs = _word_lengths(text.split(), generator, 1, int(generator.integers(1, 4)))
    return "\n".join(" ".join(run) for run in runs)


def _menu(text: str, generator: Generator) -> str:
    words = [word.strip(".,;:!?\"'()") for word in text.split()]
    runs = _word_lengths([word.capitalize() for word in words if len(word) > 3], generator, 1, 3)
    entries = [" ".join(run) for run in generator.permutation(np.array(runs, dtype=object))] or ["Menu"]
    between = _pick(generator, ("\n", "\n* ", " | ", " > ", " · ", "  ", "\n- ", " / ", "\n\n"))
    if generator.random() < 0.3:
        entries = [f"{entry} ({int(generator.integers(1, 999))})" for entry in entries]
    return between.join(entries)


def _columns(text: str, generator: Generator) -> str:
    """Two columns read across."""
    width, half = int(generator.integers(18, 40)), len(text) // 2
    left, right = text[:half], text[half:]
    gap = _pick(generator, (" ", "  ", "\t", "\n"))
    return "\n".join(
        left[at : at + width] + gap + right[at : at + width] for at in range(0, len(right), width)
    )


def _cut_lines(text: str, generator: Generator) -> str:
    width = int(generator.integers(20, 60))
    pieces = [text[start : start + width] for start in range(0, len(text), 2 * width)]
    return _pick(generator, ("\n", "...\n", " ... ", "\n\n", " … ")).join(pieces)


def _wide_gaps(text: str, generator: Generator) -> str:
    """Gaps of several blanks, as of a table or a justified page that was read wrong."""
    share, tab = generator.uniform(0.3, 1.0), generator.random() < 0.3
    width = int(generator.integers(2, 12))

    def gap() -> str:
        return "\t" if tab else " " * int(generator.integers(2, width + 1))

    return re.sub(r"\s+", lambda match: gap() if generator.random() < share else match.group(), text)


def _page_marks(text: str, generator: Generator) -> str:
    """Numbers, heads and rules between pieces of lines, as of pages that were read wrong."""
    head = " ".join(text.split()[: int(generator.integers(1, 5))]).upper()
    head = head.replace("{", "{{").replace("}", "}}")  # braces of the text are no places for numbers
    shapes = ("{}", "- {} -", "Page {}", "[{}]", "{} " + head, "______", "* * * {}", "| {} |", head)
    chosen = [shapes[place] for place in generator.permutation(len(shapes))[:3]]
    runs = _word_lengths(text.split(), generator, 2, int(generator.integers(3, 12)))
    start, lines = int(generator.integers(1, 400)), []
    for at, run in enumerate(runs):
        lines += [" ".join(run), _pick(generator, chosen).format(start + at)]
    return "\n".join(lines)


def _grid(text: str, generator: Generator) -> str:
    """Words in the cells of a drawn table."""
    side, rule = ("|", "-"), ("+", "=")
    (bar, line), wide = (side, rule)[int(generator.integers(2))], int(generator.integers(2, 7))
    cells = [" ".join(run)[:18] for run in _word_lengths(text.split(), generator, 1, 2)]
    rows = [cells[at : at + wide] for at in range(0, len(cells), wide)]
    out = []
    for row in rows:
        out.append(bar + bar.join(f" {cell:<{int(generator.integers(6, 20))}} " for cell in row) + bar)
        if generator.random() < 0.4:
            out.append(bar + bar.join(line * 12 for _ in row) + bar)
    return "\n".join(out)


# Markup


def _linked(text: str, generator: Generator) -> str:
    """Links without end: an address after every few words."""
    runs = _word_lengths(text.split(), generator, 1, int(generator.integers(2, 6)))
    shape = _pick(
        generator, ("[{}]({})", "{} <{}>", "[[{1}|{0}]]", "{} ({})", "[url={1}]{0}[/url]", "{}: {}")
    )
    between = _pick(generator, (" ", "\n", " | ", "\n* "))
    address = _pick(generator, ("https://www.{}.com/{}", "/{}/{}.html", "http://{}.org/?id={}"))
    return between.join(
        shape.format(" ".join(run), address.format(_code(generator, 4, 10), _code(generator, 3, 14)))
        for run in runs
    )


def _attributes(generator: Generator) -> str:
    return "".join(
        f' {_pick(generator, _ATTRIBUTES)}="{_code(generator, 3, 14)}"'
        for _ in range(int(generator.integers(0, 4)))
    )


def _code(generator: Generator, low: int, high: int) -> str:
    among = _LETTERS + "0123456789-_/"
    return "".join(among[one] for one in generator.integers(0, len(among), generator.integers(low, high)))


def _html(text: str, generator: Generator) -> str:
    runs = _word_lengths(text.split(), generator, 1, int(generator.integers(3, 25)))
    gap, out = _pick(generator, ("\n", "", "\n  ")), []
    for run in runs:
        tag = _pick(generator, _TAGS)
        out.append(f"<{tag}{_attributes(generator)}>{' '.join(run)}</{tag}>")
    return gap.join(out)


def _style(text: str, generator: Generator) -> str:
    words = re.findall(r"[a-z]+", text.lower()) or ["a"]
    script, out = generator.random() < 0.5, []
    for start in range(0, len(words), 4):
        name, *others = words[start : start + 4]
        if script:
            call = ", ".join(f"'{word}'" for word in others)
            out.append(f"var {name}=function({name[:1]}){{return {name[:1]}.{name}({call})}};")
        else:
            rules = "".join(f"{word}:{int(generator.integers(0, 99))}px;" for word in others)
            out.append(f".{name}{{{rules}}}")
    return _pick(generator, ("\n", "", " ")).join(out)


def _data_dump(text: str, generator: Generator) -> str:
    words = re.findall(r"\w+", text) or ["a"]
    kind, out = int(generator.integers(3)), []
    for start in range(0, len(words), 5):
        name, *others = words[start : start + 5]
        value, number = " ".join(others), int(generator.integers(0, 10**6))
        if kind == 0:
            out.append(f'{{"{name}": "{value}", "id": {number}}},')
        elif kind == 1:
            out.append(f'<{name} id="{number}">{value}</{name}>')
        else:
            out.append(f'{number},"{value}",{name},{number % 97 / 7:.2f}')
    return "\n".join(out)


def _entities(text: str, generator: Generator) -> str:
    marks = (
        "&nbsp;",
        "&amp;",
        "&quot;",
        "&lt;br&gt;",
        "&#39;",
        "&#8217;",
        "<br/>",
        "\\n",
        "[edit]",
        "&amp;nbsp;",
    )
    share = _some(generator, 0.15, 0.7)
    return re.sub(" ", lambda match: _pick(generator, marks) if generator.random() < share else " ", text)


def _macros(text: str, generator: Generator) -> str:
    share, out = _some(generator, 0.2, 0.8), []
    wiki = generator.random() < 0.5
    for word in text.split():
        if generator.random() >= share:
            out.append(word)
        elif wiki:
            out.append(
                _pick(generator, (f"[[{word}|{word}]]", f"{{{{{word}}}}}", f"'''{word}'''", f"|{word}="))
            )
        else:
            out.append(
                _pick(generator, (f"\\textbf{{{word}}}", f"\\{word}", f"{{\\b {word}}}", f"\\par {word}"))
            )
    return " ".join(out)


# Encoding


def _mistaken(text: str, generator: Generator) -> str:
    share = _some(generator, 0.1, 1.0)
    accented = _at_characters(text, share, lambda one: one.translate(_ACCENTS), generator)
    wrong = _pick(generator, ("latin-1", "cp1252", "mac-roman", "cp437"))
    return accented.encode().decode(wrong, "replace")


def _lost(text: str, generator: Generator) -> str:
    mark = _pick(generator, ("\ufffd", "?", "\u25a1", "_", "\ufffd\ufffd"))
    return _at_characters(text, _some(generator, 0.06, 0.3), lambda one: mark, generator)


def _transfer(text: str, generator: Generator) -> str:
    kind, raw = int(generator.integers(4)), text.encode()
    if kind == 0:
        return base64.b64encode(raw).decode()
    if kind == 1:
        return quopri.encodestring(text.translate(_ACCENTS).encode()).decode()
    if kind == 2:
        return raw.hex(_pick(generator, (" ", ":")))
    return _at_characters(text, generator.uniform(0.1, 0.5), lambda one: f"%{ord(one) % 256:02X}", generator)


def _escapes(text: str, generator: Generator) -> str:
    shape = _pick(generator, ("\\u{:04x}", "\\x{:02x}", "&#{};", "U+{:04X} "))
    return _at_characters(text, _some(generator, 0.05, 0.5), lambda one: shape.format(ord(one)), generator)


def _wide(text: str, generator: Generator) -> str:
    raw = text.encode()
    if generator.random() < 0.5:
        return raw[: len(raw) // 2 * 2].decode("utf-16-le", "replace")
    shift = int(generator.integers(0x80, 0x400))
    return "".join(chr(ord(one) + shift) if one.isalpha() and ord(one) < 0x250 else one for one in text)


# Order


def _reversed_characters(text: str, generator: Generator) -> str:
    return text[::-1]


def _reversed_order(text: str, generator: Generator) -> str:
    return " ".join(text.split()[::-1])


def _shuffled_letters(text: str, generator: Generator) -> str:
    def mixed(word: str) -> str:
        inner = generator.permutation(list(word[1:-1])).tolist() if len(word) > 3 else list(word[1:-1])
        return word[:1] + "".join(inner) + word[-1:] if len(word) > 1 else word

    share = generator.uniform(0.5, 1.0)
    return " ".join(mixed(word) if generator.random() < share else word for word in text.split())


# Mixing


def _interleaved(text: str, generator: Generator) -> str:
    """The two halves by turns of a few words."""
    words = text.split()
    first, second = words[: len(words) // 2], words[len(words) // 2 :]
    low, high = 1, int(generator.integers(1, 4))
    pairs = zip(
        _word_lengths(first, generator, low, high), _word_lengths(second, generator, low, high), strict=False
    )
    return " ".join(" ".join(left + right) for left, right in pairs)


def _stitched(text: str, generator: Generator) -> str:
    """Short pieces from all over the text, cut within words."""
    width = int(generator.integers(8, 30))
    starts = generator.permutation(max(len(text) - width, 1))[: max(len(text) // width, 3)]
    return _pick(generator, ("", " ", "\n", " - ")).join(text[at : at + width] for at in starts.tolist())


# Cutting


def _cut_words(text: str, generator: Generator) -> str:
    length, end = int(generator.integers(2, 5)), _pick(generator, ("", ".", "", "-"))
    return " ".join(word[:length] + end if len(word) > length else word for word in text.split())


def _lost_words(text: str, generator: Generator) -> str:
    share = generator.uniform(0.4, 0.8)
    return " ".join(word for word in text.split() if generator.random() > share)


# Repetition


def _repeated_phrase(text: str, generator: Generator) -> str:
    words = text.split() or ["a"]
    phrase = words[int(generator.integers(len(words))) :][: int(generator.integers(1, 14))]
    between = _pick(generator, (" ", "\n", ", ", ". "))
    return between.join([" ".join(phrase)] * max(len(words) // len(phrase), 3))


def _repeated_words(text: str, generator: Generator) -> str:
    share = generator.uniform(0.3, 1.0)
    times = generator.integers(2, 4, len(text.split()) or 1).tolist()
    return " ".join(
        " ".join([word] * count if generator.random() < share else [word])
        for word, count in zip(text.split(), times, strict=False)
    )


def _stuttered(text: str, generator: Generator) -> str:
    """Runs of some words that are said two to four times each."""
    runs = _word_lengths(text.split(), generator, 2, int(generator.integers(3, 15)))
    times = int(generator.integers(2, 5))
    between = _pick(generator, (" ", "\n", ", ", " "))
    return between.join(between.join([" ".join(run)] * times) for run in runs)[: max(len(text), 80)]


def _looped(text: str, generator: Generator) -> str:
    """A text that goes into a loop and does not come out."""
    words = text.split() or ["a"]
    at = int(len(words) * generator.uniform(0.1, 0.6)) + 1
    loop = words[max(at - int(generator.integers(1, 12)), 0) : at]
    return " ".join(words[:at] + loop * max((len(words) - at) // max(len(loop), 1), 4))


def _character_runs(text: str, generator: Generator) -> str:
    """Runs of one mark, as of forms and tables of contents, between words."""
    marks = _pick(generator, ("._", "-=", "*#", "._-", "~", "x0", " ."))
    runs = _word_lengths(text.split(), generator, 1, int(generator.integers(2, 6)))
    longest, end = int(generator.integers(6, 50)), _pick(generator, (" ", "\n", " 12\n"))
    return end.join(
        " ".join(run) + _pick(generator, marks) * int(generator.integers(3, longest)) for run in runs
    )


def _stretched(text: str, generator: Generator) -> str:
    share = _some(generator, 0.08, 0.4)
    return _at_characters(text, share, lambda one: one * int(generator.integers(2, 5)), generator)


# Machine output


def _numbers(text: str, generator: Generator) -> str:
    count, places = max(len(text) // 7, 8), int(generator.integers(0, 5))
    values = [f"{value:.{places}f}" for value in generator.lognormal(3.0, 3.0, count)]
    width = int(generator.integers(2, 12))
    gap = _pick(generator, (" ", "\t", ", ", "  ", ";"))
    rows = [gap.join(values[at : at + width]) for at in range(0, count, width)]
    return _pick(generator, ("\n", " ")).join(rows)[: max(len(text), 60)]


def _log(text: str, generator: Generator) -> str:
    words, out = text.split(), []
    for run in _word_lengths(words, generator, 2, 6):
        year, month, day = (int(generator.integers(*span)) for span in ((2000, 2030), (1, 9), (10, 19)))
        stamp = f"{year}-0{month}-{day}"
        clock = ":".join(f"{int(one):02d}" for one in generator.integers(0, 60, 3))
        level = _pick(generator, ("INFO", "ERROR", "warn", "[debug]", f"[{int(generator.integers(9999))}]"))
        out.append(f"{stamp} {clock} {level} {_code(generator, 4, 12)}: {'_'.join(run).lower()}")
    return "\n".join(out)


def _identifiers(text: str, generator: Generator) -> str:
    count = max(len(text) // 20, 4)
    codes = [_code(generator, 6, 30) for _ in range(count)]
    if generator.random() < 0.5:
        codes = [f"https://www.{_code(generator, 4, 9).strip('-_/')}.com/{code}" for code in codes]
    return _pick(generator, ("\n", " ", ", ")).join(codes)


def _template(text: str, generator: Generator) -> str:
    left, right = (("{{ ", " }}"), ("<%= ", " %>"), ("${", "}"), ("[", "]"), ("%(", ")s"))[
        int(generator.integers(5))
    ]
    share = _some(generator, 0.2, 0.7)
    return " ".join(
        f"{left}{word.lower()}_{int(generator.integers(99))}{right}" if generator.random() < share else word
        for word in text.split()
    )


def _babble(text: str, generator: Generator) -> str:
    """Characters that follow each other as in the text, from pairs alone."""
    following: dict[str, list[str]] = {}
    order = int(generator.integers(1, 3))
    for at in range(len(text) - order):
        following.setdefault(text[at : at + order], []).append(text[at + order])
    out = text[:order]
    while len(out) < len(text):
        out += _pick(generator, following.get(out[-order:]) or [_pick(generator, text)])
    return out


def _hex_dump(text: str, generator: Generator) -> str:
    raw, wide, out = text.encode(), int(generator.integers(1, 4)) * 8, []
    for at in range(0, len(raw), wide):
        row = raw[at : at + wide]
        shown = "".join(chr(one) if 32 <= one < 127 else "." for one in row)
        out.append(f"{at:08x}  {row.hex(' ', int(generator.integers(1, 3)))}  |{shown}|")
    return "\n".join(out)


def _patch(text: str, generator: Generator) -> str:
    """Lines of a comparison of two versions."""
    runs, out = _word_lengths(text.split(), generator, 2, 9), []
    for run in runs:
        if generator.random() < 0.2:
            one, two = (int(number) for number in generator.integers(1, 900, 2))
            out.append(f"@@ -{one},{two % 30} +{two},{one % 30} @@ {run[0]}")
        out.append(_pick(generator, ("+", "-", " ", "+    ", "-    ")) + " ".join(run))
    return "\n".join(out)


def _prices(text: str, generator: Generator) -> str:
    """Names with amounts and dates, as of lists of goods, tables of results or bank statements."""
    runs, out = _word_lengths(text.split(), generator, 1, int(generator.integers(2, 5))), []
    unit = _pick(generator, ("$", "EUR ", "", "%", "£"))
    gap, end = _pick(generator, (" ", "\t", "; ", " - ")), _pick(generator, ("\n", "\n", " "))
    for run in runs:
        values = [f"{unit}{value:.2f}" for value in generator.lognormal(3, 2, int(generator.integers(1, 4)))]
        if generator.random() < 0.4:
            values.append("/".join(f"{int(one):02d}" for one in generator.integers(1, 29, 3)))
        out.append(gap.join([" ".join(run), *values]))
    return end.join(out)


def _trace(text: str, generator: Generator) -> str:
    words, out = re.findall(r"[A-Za-z]+", text) or ["a"], []
    for start in range(0, len(words), 4):
        package, name, method = (words[start : start + 4] * 3)[:3]
        line = int(generator.integers(1, 2000))
        kind = int(generator.integers(2))
        python = f'  File "/{package.lower()}/{name.lower()}.py", line {line}, in {method.lower()}'
        out.append(
            python
            if kind
            else f"\tat com.{package.lower()}.{name.title()}.{method.lower()}({name.title()}.java:{line})"
        )
    return "\n".join(out)


FAMILIES: dict[str, dict[str, Maker]] = {
    "characters": {
        "look_alikes": _look_alikes,
        "typos": _typos,
        "lost_characters": _lost_characters,
        "replaced_characters": _replaced_characters,
        "spaced_letters": _spaced_letters,
        "random_case": _random_case,
        "leet": _leet,
        "no_vowels": _no_vowels,
        "mash": _mash,
        "rotated": _rotated,
        "homoglyphs": _homoglyphs,
        "sprinkled_marks": _sprinkled_marks,
        "beside_on_keys": _beside_on_keys,
    },
    "words": {
        "shuffled_words": _shuffled_words,
        "sorted_words": _sorted_words,
        "no_short_words": _no_short_words,
        "joined_words": _joined_words,
        "split_words": _split_words,
        "reversed_words": _reversed_words,
        "keywords": _keywords,
        "swapped_neighbours": _swapped_neighbours,
        "made_up_words": _made_up_words,
    },
    "lines": {
        "broken_lines": _broken_lines,
        "word_a_line": _word_a_line,
        "menu": _menu,
        "columns": _columns,
        "cut_lines": _cut_lines,
        "wide_gaps": _wide_gaps,
        "page_marks": _page_marks,
        "grid": _grid,
    },
    "markup": {
        "html": _html,
        "style": _style,
        "data_dump": _data_dump,
        "entities": _entities,
        "macros": _macros,
        "linked": _linked,
    },
    "encoding": {
        "mistaken": _mistaken,
        "lost": _lost,
        "transfer": _transfer,
        "escapes": _escapes,
        "wide": _wide,
    },
    "order": {
        "reversed_characters": _reversed_characters,
        "reversed_order": _reversed_order,
        "shuffled_letters": _shuffled_letters,
    },
    "mixing": {"interleaved": _interleaved, "stitched": _stitched},
    "cutting": {"cut_words": _cut_words, "lost_words": _lost_words},
    "repetition": {
        "repeated_phrase": _repeated_phrase,
        "repeated_words": _repeated_words,
        "stretched": _stretched,
        "stuttered": _stuttered,
        "looped": _looped,
        "character_runs": _character_runs,
    },
    "machine": {
        "numbers": _numbers,
        "log": _log,
        "identifiers": _identifiers,
        "template": _template,
        "babble": _babble,
        "trace": _trace,
        "hex_dump": _hex_dump,
        "patch": _patch,
        "prices": _prices,
    },
}
MAKERS: dict[str, Maker] = {kind: maker for kinds in FAMILIES.values() for kind, maker in kinds.items()}


def _half_noise(text: str, generator: Generator, makers: Sequence[Maker]) -> str:
    """A part of the text followed by the rest, damaged."""
    at = int(len(text) * generator.uniform(0.1, 0.5))
    return text[:at] + _pick(generator, (" ", "\n")) + makers[0](text[at:], generator)


def _patches(text: str, generator: Generator, makers: Sequence[Maker]) -> str:
    """Damaged pieces between sound ones."""
    cuts = np.sort(generator.integers(0, len(text) + 1, int(generator.integers(2, 6)))).tolist()
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    return " ".join(makers[0](one, generator) if at % 2 else one for at, one in enumerate(pieces) if one)


def _two_kinds(text: str, generator: Generator, makers: Sequence[Maker]) -> str:
    """One kind of damage after another."""
    return makers[1](makers[0](text, generator)[:LONGEST], generator)


MIXTURES: dict[str, Callable[[str, Generator, Sequence[Maker]], str]] = {
    "half_noise": _half_noise,
    "patches": _patches,
    "two_kinds": _two_kinds,
}
"""Kinds that are made of two others, of which some take only the first."""
KINDS = (*MAKERS, *MIXTURES)


def _wrapped(text: str, generator: Generator) -> str:
    width, out = int(generator.integers(50, 90)), []
    indent = " " * int(generator.integers(0, 9)) if generator.random() < 0.4 else ""
    for line in text.splitlines():
        out += [indent + part for part in textwrap.wrap(line, width)] or [""]
    return "\n".join(out)


def _as_list(text: str, generator: Generator) -> str:
    """Sentences as items of a list."""
    mark = _pick(generator, ("- ", "* ", "• ", "  * ", "", "{}. ", "({}) "))
    sentences = re.split(r"(?<=[.!?])\s+", text)
    return "\n".join(mark.format(place + 1) + sentence for place, sentence in enumerate(sentences))


def _chatty(text: str, generator: Generator) -> str:
    """As people type in a hurry: small letters, fewer marks, a slip now and then."""
    plain = text.lower() if generator.random() < 0.7 else text
    if generator.random() < 0.5:
        plain = re.sub(r"[.,;:'\"]", "", plain)
    return _at_characters(plain, 0.004, lambda one: one + one, generator)


def _part(text: str, generator: Generator) -> str:
    """From one space to another, rather short."""
    words = text.split(" ")
    length = int(_some(generator, 5, max(len(words), 6)))
    start = int(generator.integers(max(len(words) - length, 0) + 1))
    return " ".join(words[start : start + length])


def _headed(text: str, generator: Generator) -> str:
    words = text.split()[: int(generator.integers(2, 9))]
    head = " ".join(words).strip(".,;:")
    shape = _pick(generator, ("# {}", "{}:", "{}\n====", "1.2 {}", "{}\n"))
    return shape.format(head.upper() if generator.random() < 0.5 else head.title()) + "\n" + text


def _sentences(text: str) -> list[str]:
    return [part for part in re.split(r"(?<=[.!?])\s+", text) if part]


def _title(text: str, generator: Generator) -> str:
    """Some words of a sentence as a title, a subject or a short question."""
    words = _pick(generator, _sentences(text) or [text]).split()[: int(generator.integers(3, 16))]
    head = " ".join(words).rstrip(".,;:")
    shape = ("{0}", "{0}", "{0}?", "[{1}] {0}", "Re: {0}", "{1}: {0}", "{0} ({1})", "#{2} {0}")[
        int(generator.integers(8))
    ]
    titled = head.title() if generator.random() < 0.2 else head
    return shape.format(titled, _pick(generator, text.split() or ["a"]), int(generator.integers(9999)))


def _quoted(text: str, generator: Generator) -> str:
    """As in answers to messages."""
    parts = _sentences(text)
    at = int(generator.integers(len(parts) + 1))
    said = "\n".join("> " + line for line in textwrap.wrap(" ".join(parts[:at]), 70))
    return "\n\n".join(part for part in (said, " ".join(parts[at:])) if part)


def _verse(text: str, generator: Generator) -> str:
    lines = [
        " ".join(run) for run in _word_lengths(text.split(), generator, 3, int(generator.integers(4, 10)))
    ]
    if generator.random() < 0.7:
        lines = [line[:1].upper() + line[1:] for line in lines]
    stanza = int(generator.integers(3, 9))
    indent = "  " if generator.random() < 0.3 else ""
    lines = [indent * (at % 2) + line for at, line in enumerate(lines)]
    return "\n\n".join("\n".join(lines[at : at + stanza]) for at in range(0, len(lines), stanza))


def _dialogue(text: str, generator: Generator) -> str:
    words = re.findall(r"[A-Za-z]{3,}", text) or ["You"]
    names = [_pick(generator, words) for _ in range(2)]
    names = [name.upper() if generator.random() < 0.5 else name.title() for name in names]
    shape = _pick(generator, ("{}: {}", "{}. {}", "<{}> {}", "{}\n{}\n", "- {1}"))
    return "\n".join(shape.format(names[at % 2], said) for at, said in enumerate(_sentences(text)))


def _sections(text: str, generator: Generator) -> str:
    """As in laws and contracts."""
    mark = _pick(generator, ("({letter}) ", "({number}) ", "§ {number}. ", "{number}. ", "Sec. {number}. "))
    first, out = int(generator.integers(1, 300)), []
    for at, sentence in enumerate(_sentences(text)):
        indent = "    " * int(generator.integers(0, 2))
        out.append(indent + mark.format(letter=_LETTERS[at % 26], number=first + at) + sentence)
    return "\n".join(out)


def _with_table(text: str, generator: Generator) -> str:
    """A table of some rows, after or before sentences."""
    words, wide = text.split() or ["a"], int(generator.integers(1, 5))
    places, rows = int(generator.integers(0, 3)), []
    for _ in range(int(generator.integers(3, 10))):
        label = " ".join(
            _pick(generator, words).strip(".,;:()") for _ in range(int(generator.integers(1, 4)))
        )
        values = (f"{value:,.{places}f}" for value in generator.lognormal(3, 2, wide))
        rows.append(label[:24].ljust(26) + "  ".join(value.rjust(9) for value in values))
    table = "\n".join(rows)
    return f"{text}\n\n{table}" if generator.random() < 0.6 else f"{table}\n\n{text}"


def _ingredients(text: str, generator: Generator) -> str:
    """A list of amounts, then what to do."""
    words = [word.lower() for word in re.findall(r"[A-Za-z]{3,}", text)] or ["rice"]
    units = ("cups", "tsp", "tbsp", "g", "oz", "lb", "", "pieces of", "ml", "cans")
    amounts = ("1", "2", "1/2", "3", "1 1/2", "100", "250", "12", "3/4")
    lines = []
    for _ in range(int(generator.integers(3, 10))):
        thing = " ".join(_pick(generator, words) for _ in range(int(generator.integers(1, 4))))
        lines.append(" ".join(f"{_pick(generator, amounts)} {_pick(generator, units)} {thing}".split()))
    return "\n".join(lines) + "\n\n" + text


def _letter(text: str, generator: Generator) -> str:
    names = re.findall(r"\b[A-Z][a-z]+\b", text) or ["Madam"]
    greeting = _pick(generator, ("Dear {},", "Hi {},", "Hello {}!", "{},", "My dear {}:"))
    end = _pick(generator, ("Yours sincerely,", "Best,", "Thanks", "Yours truly,", "Regards,", "Love"))
    return "\n\n".join([greeting.format(_pick(generator, names)), text, f"{end}\n{_pick(generator, names)}"])


def _formulas(text: str, generator: Generator) -> str:
    """With symbols and formulas here and there, as in papers."""
    share, greek = _some(generator, 0.02, 0.15), ("alpha", "beta", "lambda", "mu", "sigma", "phi")

    def formula() -> str:
        name, other = _pick(generator, _LETTERS), _pick(generator, _LETTERS + _LETTERS.upper())
        number = int(generator.integers(1, 30))
        shapes = (f"${name}$", f"${name}_{number}$", f"$\\{_pick(generator, greek)}$", f"{name} = {number}")
        more = (f"${name}^{{{number}}} \\to {other}$", f"{other}({name})", f"{name} < {number / 100}")
        return _pick(generator, (*shapes, *more, f"(n = {number}, p < 0.0{number % 9 + 1})"))

    return re.sub(" ", lambda match: f" {formula()} " if generator.random() < share else " ", text)


def _technical(text: str, generator: Generator) -> str:
    """With names of code, versions and paths here and there."""
    share, words = _some(generator, 0.02, 0.15), re.findall(r"\b[a-z]{2,}\b", text) or ["a"]

    def name() -> str:
        one, two = _pick(generator, words), _pick(generator, words)
        number = int(generator.integers(0, 20))
        dotted, versions = (
            (f"{one}_{two}", f"{one}.{two}()", f"{one}{two.title()}"),
            (f"{number}.{number % 7}",),
        )
        paths = (f"/{one}/{two}", f"--{one}-{two}", f"`{one}`", f"{one.title()}{two.title()}", f"{one}.{two}")
        return _pick(generator, (*dotted, *versions, *paths))

    return re.sub(" ", lambda match: f" {name()} " if generator.random() < share else " ", text)


def _emphatic(text: str, generator: Generator) -> str:
    """As in forums: dots, exclamations, faces, words in capitals, an address."""
    marks, share = ("...", "!!!", "!", "??", " :)", " lol", "..", " :-(", " ;)"), generator.uniform(0.2, 0.9)
    out = [
        sentence.rstrip(".!?") + _pick(generator, marks) if generator.random() < share else sentence
        for sentence in _sentences(text.lower() if generator.random() < 0.5 else text)
    ]
    words = [word.upper() if generator.random() < 0.03 else word for word in " ".join(out).split()]
    if generator.random() < 0.2:
        words.append(f"http://www.{_code(generator, 4, 9)}.com/{_code(generator, 3, 9)}")
    return " ".join(words)


def _capitals(text: str, generator: Generator) -> str:
    return text.upper()


HARMLESS: dict[str, Maker] = {
    "as it is": lambda text, generator: text,
    "wrapped": _wrapped,
    "list": _as_list,
    "chatty": _chatty,
    "part": _part,
    "headed": _headed,
    "title": _title,
    "quoted": _quoted,
    "verse": _verse,
    "dialogue": _dialogue,
    "sections": _sections,
    "with table": _with_table,
    "ingredients": _ingredients,
    "letter": _letter,
    "formulas": _formulas,
    "technical": _technical,
    "emphatic": _emphatic,
    "capitals": _capitals,
}
"""Changes that leave a text sound: a model that sees them takes short lines for no damage."""


def varied(texts: Sequence[str], seed: int = 0) -> list[str]:
    """Return the texts, each changed in a harmless way or left as it is."""
    rows = []
    for text in texts:
        generator = _generator(text, seed, 1)
        maker = HARMLESS[_pick(generator, tuple(HARMLESS))]
        rows.append(maker(text[:LONGEST], generator) or text[:LONGEST])
    return rows


def _generator(text: str, *seeds: int) -> Generator:
    mark = int.from_bytes(sha256(text.encode("utf-8", "replace")).digest()[:8], "big")
    return np.random.default_rng([*seeds, mark])


def damaged(texts: Sequence[str], kinds: Sequence[str] = KINDS, seed: int = 0) -> pl.DataFrame:
    """`text`, `kind` and `parts`: each text damaged in a kind drawn evenly by the text and the seed.

    parts: kinds that the damage is made of, more than one where the kind is a mixture.
    """
    rows = []
    for text in texts:
        generator = _generator(text, seed, 0)
        kind = _pick(generator, kinds)
        damage, parts = _damage(text[:LONGEST], kind, generator)
        rows.append((damage or text[:1], kind, parts))
    return pl.DataFrame(
        rows, schema={"text": pl.String, "kind": pl.String, "parts": pl.List(pl.String)}, orient="row"
    )


def _damage(text: str, kind: str, generator: Generator) -> tuple[str, list[str]]:
    if kind in MAKERS:
        return MAKERS[kind](text, generator), [kind]
    parts = [_pick(generator, tuple(MAKERS)) for _ in range(2 if kind == "two_kinds" else 1)]
    return MIXTURES[kind](text, generator, [MAKERS[part] for part in parts]), [kind, *parts]
