"""Noise and boilerplate that is planted into pools: what rules are chosen on, and kinds held out from that.

Each maker takes the words of a text and a generator; each kind has a chosen and a held-out maker, which were
written apart: other menus, encodings, separators and keys.
"""

import base64
import quopri
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import polars as pl

from tamis.quality.noise import LONGEST_WORDS, MAKERS

Words, Generator = list[str], np.random.Generator
Maker = Callable[[Words, Generator], str]

_MENU = (
    *(
        "Main page",
        "Who we are",
        "Our mission",
        "Read more",
        "View all",
        "Next",
        "Previous",
        "Basket",
        "Checkout",
    ),
    *("Downloads", "Press room", "Jobs", "Partners", "Investors", "Support", "Forum", "Calendar", "Photos"),
)
_SPACED_MENU = (
    *(
        "Home",
        "About",
        "Contact",
        "Login",
        "Register",
        "Shop",
        "Blog",
        "News",
        "Events",
        "Gallery",
        "Products",
    ),
    *("Services", "Help"),
)
_KEYS, _HOME_ROW = "qwertyuiopasdfghjklzxcvbnm", "asdfjkl;gh"
HELD_OUT_NOTICES = (
    "This website stores small text files on your device so that it can remember your settings.",
    "JavaScript appears to be turned off. Some features will not work until it is switched on.",
    "Copyright 2019 Example Media Group Ltd. Registered in Scotland. Material may not be redistributed.",
    "Get the day's top stories in your inbox every morning. Enter your email below.",
    "Home > News > World. Skip to main content. Menu. Search. Log in",
    "You have reached your limit of free articles. Already a subscriber? Sign in to continue reading.",
    "Our partners and we process data such as IP addresses to serve relevant ads. Manage options.",
    "Neither the publisher nor the authors accept any liability for errors or omissions.",
    "The page you requested could not be found. It may have been moved or deleted.",
    "Customer service: Mon-Fri 9 to 5. Delivery information. Returns. Gift cards. Store locator",
)


NAMED_NOTICES = (
    "{site} uses cookies to improve your visit. By continuing to read {site} you agree to their use.",
    "Copyright {year} {site}. No part of {address} may be reproduced without permission of the publisher.",
    "Sign up for the newsletter of {site} and get the best stories in your inbox every week.",
    "Please switch on JavaScript in your browser to view this page on {address}.",
    "You are reading a free article of {site}. To read all articles, become a member of {site} today.",
    "For questions about an order, write to help@{address} or see {address} for the opening hours.",
    "{site} and its partners store and access information on your device to show advertisements.",
    "The views in this article are those of the author and not necessarily those of {site}.",
    "The page that you asked for could not be found on {site}. Go back to the start or search {address}.",
    "By using {address} you accept the terms of use and the privacy policy of {site}.",
)
"""With the name, address and year of the site, which `pages_of_notices` draws for each page."""
_FIRST = ("North", "Blue", "Silver River", "Harbor", "Evening", "Alpine", "Union", "Old Mill", "Coastal")
_SECOND = ("Times", "Herald", "Media", "Books", "Labs", "Foods", "Travel", "Motors", "Bank", "Health")


def _read_wrong(words: Words, generator: Generator) -> str:
    """UTF-8 with accents read as another encoding, or characters that were lost."""
    text, kind = " ".join(words), int(generator.integers(3))
    if kind == 0:
        return "".join("\ufffd" if generator.random() < 0.15 else one for one in text)
    accents = str.maketrans({"a": "á", "e": "é", "o": "ö", "u": "ü"})
    return text.translate(accents).encode().decode("latin-1" if kind == 1 else "cp1252", "replace")


def _spaced_menu(words: Words, generator: Generator) -> str:
    return " ".join(generator.choice(_SPACED_MENU, max(len(words) // 2, 8)).tolist())


def _other_menu(words: Words, generator: Generator) -> str:
    entries = generator.choice(_MENU, max(len(words) // 2, 8)).tolist()
    linked = "\n".join(f'<li><a href="/{entry[:3].lower()}">{entry}</a></li>' for entry in entries)
    starred = "\n".join(f"* {entry}" for entry in entries)
    return [linked, starred, " » ".join(entries), "  ".join(entries)][int(generator.integers(4))]


def _plain_shuffle(words: Words, generator: Generator) -> str:
    return " ".join(generator.permutation([word.strip(".,;:!?\"'()").lower() for word in words]).tolist())


def _repeated_sentence(words: Words, generator: Generator) -> str:
    length = int(generator.integers(3, 12))
    start = int(generator.integers(0, max(len(words) - length, 0) + 1))
    phrase = " ".join(words[start : start + length])
    again = [
        phrase if generator.random() < 0.5 else phrase.capitalize()
        for _ in range(max(len(words) // length, 4))
    ]
    return str(generator.choice([". ", "\n", ", ", " "])).join(again)


def _other_mash(words: Words, generator: Generator) -> str:
    keys = _KEYS if generator.random() < 0.5 else _HOME_ROW
    lengths = [int(generator.integers(2, 12)) for _ in words]
    return " ".join(
        "".join(keys[key] for key in generator.integers(0, len(keys), length)) for length in lengths
    )


def _other_fragments(words: Words, generator: Generator) -> str:
    pieces = []
    for _ in range(max(len(words) // 5, 3)):
        length = int(generator.integers(2, 6))
        start = int(generator.integers(0, max(len(words) - length, 1)))
        piece = " ".join(words[start : start + length])
        pieces.append(
            piece[int(generator.integers(0, 3)) : max(len(piece) - int(generator.integers(1, 4)), 1)]
        )
    return str(generator.choice(["\n", " - ", " … ", "; "])).join(pieces)


def _other_numbers(words: Words, generator: Generator) -> str:
    kind, count = int(generator.integers(3)), max(len(words), 8)
    values = generator.integers(0, 2**31, count).tolist()
    if kind == 0:
        return "\n".join(
            ",".join(str(value % 9_999) for value in values[at : at + 5]) for at in range(0, count, 5)
        )
    if kind == 1:
        return " ".join(f"{value:08x}" for value in values)
    return "\t".join(f"ID{value % 9_999} {value / 2**27:.2f}%" for value in values[: count // 2 + 2])


def _other_encoding(words: Words, generator: Generator) -> str:
    text, kind = " ".join(words), int(generator.integers(5))
    if kind == 0:
        return text.encode()[: len(text.encode()) // 2 * 2].decode("utf-16-le", "replace")
    if kind == 1:
        return quopri.encodestring(text.translate(str.maketrans({"e": "é", "a": "ä"})).encode()).decode()
    if kind == 2:
        return base64.b64encode(text.encode()).decode()
    if kind == 3:
        return text.translate(str.maketrans({"e": "é", "i": "ï"})).encode().decode("mac-roman", "replace")
    return "".join(f"\\u{ord(one):04x}" if generator.random() < 0.4 else one for one in text)


def _menus(words: Words, generator: Generator) -> str:
    return (MAKERS["menu"] if generator.random() < 0.5 else _spaced_menu)(words, generator)


CHOSEN_ON: Mapping[str, Maker] = {
    "numbers": MAKERS["number_dump"],
    "keyboard mash": MAKERS["keyboard_mash"],
    "repeated n-grams": MAKERS["repeated_ngram"],
    "menus": _menus,
    "shuffled words": MAKERS["shuffled_words"],
    "fragments": MAKERS["fragments"],
    "broken encodings": _read_wrong,
}
HELD_OUT: Mapping[str, Maker] = {
    "numbers": _other_numbers,
    "keyboard mash": _other_mash,
    "repeated n-grams": _repeated_sentence,
    "menus": _other_menu,
    "shuffled words": _plain_shuffle,
    "fragments": _other_fragments,
    "broken encodings": _other_encoding,
}


def noise_of(texts: Sequence[str], makers: Mapping[str, Maker], seed: int) -> pl.DataFrame:
    """`text` and `kind`: one piece of noise of each text, the kinds by turns."""
    generator, kinds = np.random.default_rng(seed), sorted(makers)
    rows = [
        (makers[kind](text.split()[:LONGEST_WORDS] or ["empty"], generator), kind)
        for text, kind in zip(texts, kinds * (len(texts) // len(kinds) + 1), strict=False)
    ]
    return pl.DataFrame(rows, schema={"text": pl.String, "kind": pl.String}, orient="row")


def pages_of_notices(texts: Sequence[str], notices: Sequence[str], seed: int) -> pl.DataFrame:
    """`text` and `kind`: of each text the first words, among three to five notices, each page of a site."""
    generator, sites, rows = np.random.default_rng([seed, 1]), np.random.default_rng([seed, 2]), []
    for text in texts:
        site = f"{sites.choice(_FIRST)} {sites.choice(_SECOND)} {sites.choice(_SECOND)}"
        address = f"www.{site.lower().replace(' ', '')}.com"
        named = {"site": site, "address": address, "year": int(sites.integers(1990, 2026))}
        chosen = [notices[place] for place in generator.permutation(len(notices))[: generator.integers(3, 6)]]
        page = [" ".join(text.split()[:8]), *(notice.format(**named) for notice in chosen)]
        rows.append(("\n".join(page), "boilerplate"))
    return pl.DataFrame(rows, schema={"text": pl.String, "kind": pl.String}, orient="row")
