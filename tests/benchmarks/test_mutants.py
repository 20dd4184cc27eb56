"""Mutants of a module: each is another program, in one place, and none is of what says nothing."""

import ast

from benchmarks._mutations import mutations

SOURCE = '''"""Docstring with 1 and 2."""

LIMIT = 3


def clipped(value: int, most: int = 10) -> int:
    """Return the value, at most so many."""
    if value > most and most:
        note(value)
        return most + 1
    return value
'''


def test_each_mutant_is_another_program_that_parses():
    found = mutations("m.py", SOURCE)
    made = [one.made(SOURCE) for one in found]
    clean = ast.dump(ast.parse(SOURCE))
    trees = [ast.dump(ast.parse(text)) for text in made]
    assert clean not in trees
    assert len(set(trees)) == len(trees)
    assert len(trees) >= 5
    assert all(ast.get_docstring(ast.parse(text)) == ast.get_docstring(ast.parse(SOURCE)) for text in made)


def test_mistakes_of_several_kinds_are_drawn_in_functions_alone():
    made = "\n".join(one.made(SOURCE) for one in mutations("m.py", SOURCE))
    for mistake in ("or most", "most - 1", "return None"):
        assert mistake in made, mistake
    assert "LIMIT = 4" not in made, "what runs at import belongs to no test"
