"""Notes on held-back losses: permissions hold once, and a corpus that left tamis.toml is named."""

from dataclasses import replace

from tamis.graph.held_back import Shrunken, forget_shrunken, held_back, note_shrunken, read_shrunken

A, B = "web__a", "web__b"


def shrunken(shard: str, allowed: bool) -> Shrunken:
    return Shrunken(
        shard=shard, input_key="k", before=100, now=3, bad_rows={"empty_text": 2}, allowed=allowed
    )


def test_a_permission_is_forgotten_once_its_file_was_read(imagined):
    store = imagined.project.home.store
    noted = {A: shrunken(A, allowed=True), B: shrunken(B, allowed=False)}
    note_shrunken(store, list(noted.values()))
    assert read_shrunken(store, [A, B]) == noted
    forget_shrunken(store, [A])
    assert read_shrunken(store, [A, B]) == {B: noted[B]}


def test_a_corpus_that_left_the_settings_is_named_with_the_command_that_lets_it_go(imagined):
    lost = replace(imagined.snapshot(), absent={"old__a": "old", "old__b": "old"})
    (found,) = held_back(lost, {})
    assert (found.kind, found.name) == ("corpus", "old")
    assert found.found == "corpus 'old' is no longer in tamis.toml; it had 2 files (old__a, old__b)"
    assert found.line.endswith("`tamis materialize --allow-removal old`")
    (found,) = held_back(replace(lost, absent={A: "web"}), {})
    assert found.found == f"corpus 'web' lost 1 file ({A})"
