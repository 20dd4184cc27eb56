"""Conversations through a chat template: answers alone are learnt, each token once; a refusal says why."""

import json
import math
import shutil

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from tamis.readers.conversations import Conversation
from tamis.training import FineTuningOptions, fine_tune
from tamis.training.chats import AROUND, READ, SAID, Chat, chat_tokens, chat_windows, refused_rows
from tamis.training.errors import BadTemplateError
from tamis.training.evaluation import evaluate_pairs
from tamis.training.examples import Pair, chat_rows, pair_rows, text_of
from tamis.training.models import load_model

CPU = torch.device("cpu")
TEMPLATE = """\
{%- for message in messages -%}
{%- if message.role == 'tool' -%}{{ raise_exception('no tools here') }}{%- endif -%}
{{ bos_token + message.role + '\\n' + message.content + eos_token }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ bos_token + 'assistant\\n' }}{%- endif -%}"""
FORGETFUL = "{{ messages[-1].content }}"
CHATS = [
    Chat(turns=(("user", "the mean of a sample"), ("assistant", "returns the mean."))),
    Chat(
        turns=(
            ("system", "scale the test"),
            ("user", "an array?"),
            ("assistant", "shape of an array"),
            ("user", "<eos> naïve?"),
            ("assistant", "the value 中文."),
        )
    ),
    Chat(turns=(("assistant", "a test"), ("user", "the scale"), ("assistant", "of the array"))),
]
WORD = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(str.strip).filter(bool)
TURN = st.tuples(st.sampled_from(["system", "user", "assistant"]), WORD)


@pytest.fixture(scope="session")
def tokenizers(tiny) -> dict:
    plain, templated = (AutoTokenizer.from_pretrained(tiny.model) for _ in range(2))
    templated.chat_template = TEMPLATE
    return {"plain": plain, "templated": templated}


@pytest.fixture(scope="session")
def chatty(tiny, tmp_path_factory):
    """The tiny model with a template."""
    folder = tmp_path_factory.mktemp("chatty") / "model"
    shutil.copytree(tiny.model, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


@given(st.lists(TURN, max_size=4), WORD, st.integers(1, 12))
@settings(deadline=None, max_examples=60)
def test_answers_are_scored_once_and_nothing_else_is(tokenizers, turns, last, length):
    chat = Chat(turns=(*turns, ("assistant", last)))
    for name, tokenizer in tokenizers.items():
        ((tokens, kinds),) = chat_tokens(tokenizer, name, [chat])
        said = tokenizer.decode(tokens[kinds == SAID], clean_up_tokenization_spaces=False)
        assert said == "".join(chat.answers)
        before = tokenizer.decode(tokens[: np.flatnonzero(kinds == SAID)[-1] + 1])
        assert before.endswith(last), "it is where the answer is"
        for ending, wanted in ((False, kinds == SAID), (True, kinds != READ)):
            rows = list(chat_windows(tokens, kinds, length, ending))
            scored = np.concatenate([row[1:][counts] for row, counts in rows])
            assert scored.tolist() == tokens[wanted].tolist()
            assert all(len(row) <= length + 1 and len(counts) == len(row) - 1 for row, counts in rows)


def test_tokens_are_those_of_the_template_and_a_spelled_mark_is_text(tokenizers):
    tokenizer = tokenizers["templated"]
    ((tokens, kinds),) = chat_tokens(tokenizer, "model", CHATS[1:2])
    messages = [{"role": role, "content": text} for role, text in CHATS[1].turns]
    written = tokenizer.apply_chat_template(messages, tokenize=False)
    assert tokenizer.decode(tokens, clean_up_tokenization_spaces=False) == written
    assert (tokens == tokenizer.eos_token_id).sum() == 5, "that of the third question is text"
    assert (kinds == AROUND).sum() == 2, "the end of each answer is learnt"


def by_hand(model, tokens, kinds) -> float:
    with torch.no_grad():
        logits = model(torch.tensor(tokens[None, :-1])).logits[0].double().log_softmax(-1).numpy()
    scored = np.flatnonzero(kinds[1:] == SAID)
    return -float(logits[scored, tokens[1:][scored]].sum())


def test_held_out_bits_are_those_of_all_answers(chatty):
    model = AutoModelForCausalLM.from_pretrained(chatty, dtype=torch.float32)
    found = evaluate_pairs(chatty, CHATS, sequence_length=120, device="cpu", dtype="float32")
    encoded = chat_tokens(AutoTokenizer.from_pretrained(chatty), "model", CHATS)
    expected = [by_hand(model, tokens, kinds) / math.log(2) for tokens, kinds in encoded]
    np.testing.assert_allclose(found.document_bits, expected, rtol=1e-5)
    assert found.document_bytes.tolist() == [len("".join(chat.answers).encode()) for chat in CHATS]


def test_one_question_without_a_template_is_learnt_as_a_pair(tiny):
    loaded = load_model(tiny.model, CPU, 64)
    pair = Pair(prompt="the mean of a sample", response="returns the mean.")
    for ending in (True, False):
        expected = pair_rows(loaded, [pair], 64, ending=ending).chosen(np.arange(1))
        found = chat_rows(loaded, CHATS[:1], 64, ending=ending).chosen(np.arange(1))
        width = expected.rows.shape[1] - 1 if ending else None
        scored = [one.targets[one.targets >= 0].tolist() for one in (found, expected)]
        assert scored[0] == scored[1]
        assert width is None or found.rows.tolist() == expected.rows.tolist()
    assert text_of(CHATS[0]) == text_of(pair)


def test_training_on_conversations_brings_their_answers_down(chatty, tmp_path):
    options = FineTuningOptions(sequence_length=64, batch_size=2, epochs=12, seed=5)
    result = fine_tune(chatty, CHATS, options, CHATS, tmp_path / "out", tmp_path / "resume")
    assert result.held_out_bits_per_byte < 0.9 * result.zero_shot_bits_per_byte
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template == TEMPLATE


TOOL = Chat(turns=(("user", "a"), ("tool", "secret words"), ("assistant", "b")))


def frame_of(chats) -> pl.DataFrame:
    found = [Conversation.of(chat.turns) for chat in chats]
    turns = [json.dumps(one.starts) for one in found]
    return pl.DataFrame({"text": [one.text for one in found], "turns": turns})


def test_a_conversation_that_a_template_does_not_take_says_why(tiny, chatty, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(chatty)
    with pytest.raises(BadTemplateError, match="rejects 1 of 2 conversations: no tools here") as caught:
        chat_tokens(tokenizer, "model", [CHATS[0], TOOL])
    assert "secret" not in str(caught.value)
    refused = refused_rows(frame_of([*CHATS, TOOL]), [str(tiny.model), str(chatty), str(tmp_path / "none")])
    assert list(refused) == [3]
    assert refused[3].endswith("rejects it: no tools here")
    tokenizer.chat_template = FORGETFUL
    with pytest.raises(
        BadTemplateError, match="rejects 3 of 3 conversations: it does not write all turns in order"
    ):
        chat_tokens(tokenizer, "model", CHATS)
