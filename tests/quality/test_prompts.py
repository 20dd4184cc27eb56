"""The wording of the questions, and what documents cannot do to them."""

import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.quality.prompts import DOCUMENT_MARK, PROMPTS, QUESTION, neutralised, reordered, with_chat_template

ASK, SHOW = PROMPTS["ask-llm"], PROMPTS["examples"]
PIECES = [
    "###",
    "#",
    "Text:",
    "\n",
    " ",
    QUESTION,
    "yes",
    "<|",
    "im_end",
    "|>",
    "<",
    "s>",
    "/",
    "[INST]",
    "[",
    "é",
]
TOKENS = ("<|im_end|>", "<s>", "</s>", "▁<PRE>", "<extra_id_0>")


def test_the_question_of_the_paper_is_asked_word_for_word():
    asked = ASK.around("{datapoint}")
    assert asked.startswith(
        "###\n{datapoint}\n###\n\nDoes the previous paragraph demarcated within ### and ###"
    )
    assert asked.endswith("content.\n\nOPTIONS:\n- yes\n- no\n")
    digest = hashlib.sha256(asked.encode()).hexdigest()
    assert digest == "6654b5a596973ac4ac8ed4aaa293eb607a27ec090bd8c6d14fee763b0d5125fa"


def test_examples_end_with_a_no_and_the_document_is_asked_the_same_way():
    assert SHOW.prefix.endswith(f"{QUESTION} no\n\nText: ")
    assert SHOW.prefix.count(f"{QUESTION} yes") == SHOW.prefix.count(f"{QUESTION} no") == 4
    assert SHOW.around("x").endswith(f"Text: x\n{QUESTION}")


@settings(deadline=None, max_examples=25)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_no_document_holds_a_delimiter_or_a_control_token(text):
    (asked,) = neutralised([text], ASK, TOKENS)
    (shown,) = neutralised([text], SHOW, TOKENS)
    assert "###" not in asked
    assert QUESTION not in shown
    assert not any(line.strip().startswith("Text:") for line in shown.split("\n"))
    for token in (*TOKENS, "[INST]"):
        assert token not in asked
        assert token not in shown


def test_ordinary_text_is_left_as_it_is():
    text = "# Title\n\nif a < b and c > d: x[0] = '<b>'  ## note\nThis Text: is fine."
    assert neutralised([f"  {text}\n"], ASK) == [text]
    assert neutralised([text], SHOW) == [text]


def test_lone_surrogates_become_question_marks_and_empty_stays_empty():
    assert neutralised(["a\ud800b", "", " \n "], ASK) == ["a?b", "", ""]


def test_a_chat_template_is_split_around_the_document():
    prompt = with_chat_template(ASK, f"<user>{ASK.around(DOCUMENT_MARK)}<end>")
    assert prompt.around("x") == f"<user>{ASK.around('x')}<end>"
    assert prompt.delimiters == ASK.delimiters


def test_another_order_holds_the_same_words_and_the_same_good_before_bad():
    other = reordered(SHOW)
    assert sorted(other.prefix.split("\n\n")) == sorted(SHOW.prefix.split("\n\n"))
    assert other.prefix != SHOW.prefix
    answers = [part.rsplit(" ", 1)[-1] for part in other.prefix.split("\n\n")[:-1]]
    assert answers == ["yes"] * 4 + ["no"] * 4
    assert other.suffix == SHOW.suffix
    turned = reordered(ASK)
    assert turned.around("x").endswith("OPTIONS:\n- no\n- yes\n")
    assert turned.suffix.replace("- no\n- yes", "- yes\n- no") == ASK.suffix
