"""A digest of code stays where code is moved or worded differently, and changes with what it computes."""

import pytest
from reached_code import Code, digest, reached

LEFT, RIGHT = "tamis.left", "tamis.right"
BEFORE = {
    LEFT: '''
        """Two functions and what they need."""
        import numpy as np
        from tamis.right import RATE, Table, said
        from tamis import right as other

        LIMIT = 3
        RULES = {"a": lambda x: x + 1}
        RULES["b"] = said

        class WrongError(ValueError):
            def __init__(self, name):
                super().__init__(f"{name} is wrong")

        def entry(rows: "Rows", *, limit=LIMIT):
            """Doc."""
            total = 0
            for row in rows:
                total += other.scaled(row) * RATE
            if total > limit:
                raise WrongError("this")
            return Table(total=np.sqrt(total)), [RULES[one](total) for one in RULES]

        Rows = list[int]
    ''',
    RIGHT: """
        RATE = 2.0
        UNUSED = 1

        class Table:
            total: float

            def half(self):
                return self.total / DIVISOR

        DIVISOR = 2

        def scaled(value):
            return value * 3

        def said(value):
            say("done")
            return value

        def say(text):
            print(text)
    """,
}
SAME = {
    "a comment, a docstring and layout": (LEFT, '"""Doc."""', '"""Another."""  # why'),
    "a local variable": (
        LEFT,
        ("total = 0", "total +=", "if total", "sqrt(total)", "[one](total)"),
        ("found = 0", "found +=", "if found", "sqrt(found)", "[one](found)"),
    ),
    "a variable of a comprehension": (LEFT, "RULES[one](total) for one in", "RULES[each](total) for each in"),
    "an alias of another package": (LEFT, ("numpy as np", "np.sqrt"), ("numpy as numbers", "numbers.sqrt")),
    "a message that is raised": (LEFT, "is wrong", "is not right"),
    "what is raised with": (LEFT, 'WrongError("this")', 'WrongError("that")'),
    "what is said": (RIGHT, "done", "ended"),
    "an annotation": (RIGHT, "total: float", "total: int"),
    "what nothing reaches": (RIGHT, "UNUSED = 1", "UNUSED = 2"),
    "how a module is imported": (
        LEFT,
        ("from tamis import right as other", "other.scaled"),
        ("import tamis.right", "tamis.right.scaled"),
    ),
    "a name in place of its module": (
        LEFT,
        ("RATE, Table, said", "other.scaled"),
        ("RATE, Table, said, scaled", "scaled"),
    ),
}
OTHERWISE = {
    "a number": (LEFT, "LIMIT = 3", "LIMIT = 4"),
    "a constant of another module": (RIGHT, "RATE = 2.0", "RATE = 2.5"),
    "a function that is called": (RIGHT, "value * 3", "value * 4"),
    "a function of a table": (LEFT, "x + 1", "x + 2"),
    "an entry that is added to a table": (LEFT, 'RULES["b"] = said', 'RULES["c"] = said'),
    "a method of a class": (RIGHT, "self.total / DIVISOR", "self.total * DIVISOR"),
    "what a method of a class uses": (RIGHT, "DIVISOR = 2", "DIVISOR = 3"),
    "a field of a class": (RIGHT, "total: float", "total: float = 0.0"),
    "a default": (LEFT, "limit=LIMIT", "limit=LIMIT + 1"),
    "the name of a parameter": (LEFT, "*, limit=LIMIT", "*, most=LIMIT"),
    "which variable is meant": (LEFT, "if total > limit", "if row > limit"),
    "which error is raised": (LEFT, "raise WrongError", "raise ValueError"),
    "what is followed by an annotation": (LEFT, "Rows = list[int]", "Rows = list[float]"),
    "a function of another package": (LEFT, "np.sqrt", "np.cbrt"),
}


def code(tmp_path, texts):
    """The modules written out."""
    files = {}
    for name, text in texts.items():
        lines = text.strip("\n").splitlines()
        files[name] = tmp_path / f"{name.rpartition('.')[2]}.py"
        files[name].write_text("\n".join(line.removeprefix(" " * 8) for line in lines))
    (tmp_path / "__init__.py").write_text("")
    return Code({"tamis": tmp_path / "__init__.py", **files})


def digest_of(tmp_path, texts, root=(LEFT, "entry")):
    written = code(tmp_path, texts)
    return digest(written, reached(written, [root]))


def changed(module, old, new):
    text = BEFORE[module]
    for was, now in zip(*((one,) if isinstance(one, str) else one for one in (old, new)), strict=True):
        assert was in text
        text = text.replace(was, now)
    return {**BEFORE, module: text}


@pytest.mark.parametrize("name", SAME)
def test_what_computes_the_same_has_the_same_digest(tmp_path, name):
    assert digest_of(tmp_path, changed(*SAME[name])) == digest_of(tmp_path, BEFORE)


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_computes_otherwise_has_another_digest(tmp_path, name):
    assert digest_of(tmp_path, changed(*OTHERWISE[name])) != digest_of(tmp_path, BEFORE)


def test_a_move_between_modules_changes_nothing(tmp_path):
    moved = "        def scaled(value):\n            return value * 3\n"
    assert moved in BEFORE[RIGHT]
    texts = {
        LEFT: BEFORE[LEFT]
        .replace("other.scaled", "scaled")
        .replace("from tamis import right as other", "from tamis.third import scaled"),
        RIGHT: BEFORE[RIGHT].replace(moved, ""),
        "tamis.third": f"\n{moved}",
    }
    assert digest_of(tmp_path, texts) == digest_of(tmp_path, BEFORE)
    joined = BEFORE[RIGHT] + BEFORE[LEFT].replace("other.scaled", "scaled").replace(
        "        from tamis.right import RATE, Table, said\n", ""
    ).replace("        from tamis import right as other\n", "")
    assert digest_of(tmp_path, {RIGHT: joined}, (RIGHT, "entry")) == digest_of(tmp_path, BEFORE)


def test_a_module_that_is_handed_on_counts_whole(tmp_path):
    texts = {
        LEFT: "        from tamis import right\n        def entry(): return vars(right)",
        RIGHT: BEFORE[RIGHT],
    }
    before = digest_of(tmp_path, texts)
    assert digest_of(tmp_path, {**texts, RIGHT: BEFORE[RIGHT].replace("UNUSED = 1", "UNUSED = 2")}) != before


def test_a_module_that_is_named_in_a_text_counts_whole(tmp_path):
    texts = {LEFT: '        def entry(): return __import__("tamis.right")', RIGHT: BEFORE[RIGHT]}
    before = digest_of(tmp_path, texts)
    assert digest_of(tmp_path, {**texts, RIGHT: BEFORE[RIGHT].replace("UNUSED = 1", "UNUSED = 2")}) != before


def test_a_data_file_counts_by_its_bytes(tmp_path):
    texts = {LEFT: '        def entry(): return open("words.txt")'}
    (tmp_path / "words.txt").write_text("one")
    before = digest_of(tmp_path, texts)
    (tmp_path / "words.txt").write_text("two")
    assert digest_of(tmp_path, texts) != before


def test_what_is_in_a_module_left_out_is_not_followed(tmp_path):
    written = code(tmp_path, BEFORE)
    assert {module for module, _name in reached(written, [(LEFT, "entry")], frozenset({RIGHT}))} == {LEFT}


@pytest.mark.parametrize("call", ["RULES.update(c=RATE)", "RULES.setdefault('c', RATE)"])
@pytest.mark.parametrize("around", ["", "for each in (): ", "if RATE: "])
def test_what_a_call_adds_to_a_table_counts(tmp_path, call, around):
    added = f"{BEFORE[LEFT].rstrip()}\n        {around}{call}"
    assert digest_of(tmp_path, {**BEFORE, LEFT: added}) != digest_of(tmp_path, BEFORE)


CHOSEN = """
        import os
        WORDS = 3
        if os.cpu_count() > WORDS:
            from tamis.right import scaled
        else:
            from tamis.third import scaled
        def entry(): return scaled(1)
"""
TRIED = CHOSEN.replace("if os.cpu_count() > WORDS:", "try:").replace("else:", "except ImportError:")
ORIGINS = {
    RIGHT: "        def scaled(value): return value * 3",
    "tamis.third": "        def scaled(value): return value * 5",
}
IN_FUNCTIONS = """
        def entry(): return first() + second()
        def first():
            from tamis.right import scaled
            return scaled(1)
        def second():
            from tamis.third import scaled
            return scaled(1)
"""


@pytest.mark.parametrize("left", [CHOSEN, TRIED, IN_FUNCTIONS], ids=["a condition", "an error", "functions"])
@pytest.mark.parametrize("changed", [RIGHT, "tamis.third"])
def test_a_name_with_two_origins_means_both(tmp_path, left, changed):
    texts = {LEFT: left, **ORIGINS}
    before = digest_of(tmp_path, texts)
    assert digest_of(tmp_path, {**texts, changed: texts[changed].replace("value *", "value +")}) != before


@pytest.mark.parametrize(("old", "new"), [("WORDS = 3", "WORDS = 4"), ("cpu_count() >", "cpu_count() <")])
def test_what_chooses_an_import_counts(tmp_path, old, new):
    before = digest_of(tmp_path, {LEFT: CHOSEN, **ORIGINS})
    assert digest_of(tmp_path, {**ORIGINS, LEFT: CHOSEN.replace(old, new)}) != before
    outside = CHOSEN.replace("tamis.right", "math").replace("tamis.third", "numpy").replace("scaled", "sqrt")
    before = digest_of(tmp_path, {LEFT: outside})
    assert digest_of(tmp_path, {LEFT: outside.replace(old, new)}) != before
