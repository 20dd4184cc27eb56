"""The scorer against transformers used by hand, on tiny random models."""

import numpy as np
import pytest
import torch

from tamis.quality import AskLLM, JudgeModelError
from tamis.quality.identity import judge_prompt, judge_source
from tamis.quality.judge_loading import load_local_judge
from tamis.quality.local_judge import answer_logits, bounded_documents, question_ids
from tamis.quality.prompts import CHAT_REMINDER, PROMPTS, reordered

TEXTS = ("the cat is red", "", "a dog " * 60, "unknown words only", "well well the dog")
TEMPLATE = (
    "{% for m in messages %}<s>user {{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>{% endif %}"
)


def by_hand(model, tokenizer, question, add_special_tokens=True):
    """log P(yes), log sum P(yes, Yes), log sum P(no, No) of one question, no padding, no cache."""
    ids = torch.tensor([tokenizer(question, add_special_tokens=add_special_tokens)["input_ids"]])
    with torch.inference_mode():
        if model.config.is_encoder_decoder:
            logits = model(input_ids=ids, decoder_input_ids=torch.tensor([[0]])).logits[0, 0]
        else:
            logits = model(input_ids=ids).logits[0, -1]
    log_p = logits.double().log_softmax(dim=-1)
    yes, no = (tokenizer.convert_tokens_to_ids(pair) for pair in (["yes", "Yes"], ["no", "No"]))
    return [log_p[yes[0]].item(), log_p[yes].logsumexp(0).item(), log_p[no].logsumexp(0).item()]


@pytest.mark.parametrize("prompt", ["ask-llm", "examples"])
def test_a_causal_judge_equals_transformers_by_hand(tmp_path, word_tokenizer, save_llama, prompt):
    tokenizer = word_tokenizer(template="<s> $A")
    model = save_llama(tmp_path, tokenizer)
    judge = AskLLM(tmp_path, prompt=prompt, batch_size=3, max_tokens=200)
    scores = judge.score(TEXTS).select("logp_yes_raw", "logp_yes", "logp_no").to_numpy()
    expected = [by_hand(model, tokenizer, PROMPTS[prompt].around(text.strip())) for text in TEXTS]
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    assert (judge.local_judge().prefix is not None) == (prompt == "examples")


@pytest.mark.parametrize("prompt", ["ask-llm", "examples"])
def test_asked_in_another_order_the_same_weights_answer_under_another_fingerprint(
    tmp_path, word_tokenizer, save_llama, prompt
):
    tokenizer = word_tokenizer(template="<s> $A")
    model = save_llama(tmp_path, tokenizer)
    judge = AskLLM(tmp_path, prompt=prompt, max_tokens=200)
    other = judge.asking(reordered(judge.prompt))
    scores = other.score(TEXTS).select("logp_yes_raw", "logp_yes", "logp_no").to_numpy()
    expected = [by_hand(model, tokenizer, other.prompt.around(text.strip())) for text in TEXTS]
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    assert other.local_judge().model is judge.local_judge().model
    assert other.fingerprint == AskLLM(tmp_path, prompt=other.prompt, max_tokens=200).fingerprint
    assert other.fingerprint != judge.fingerprint
    assert judge.usage.documents == len(TEXTS)


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_an_encoder_decoder_judge_equals_transformers_by_hand(
    tmp_path, word_tokenizer, save_encoder_decoder, family
):
    tokenizer = word_tokenizer(template="$A </s>")
    model = save_encoder_decoder(tmp_path, tokenizer, family)
    judge = AskLLM(str(tmp_path), batch_size=2, max_tokens=200)
    assert judge.prompt.name == "ask-llm"
    scores = judge.score(TEXTS).select("logp_yes_raw", "logp_yes", "logp_no").to_numpy()
    expected = [by_hand(model, tokenizer, PROMPTS["ask-llm"].around(text.strip())) for text in TEXTS]
    np.testing.assert_allclose(scores, expected, atol=1e-4)


def test_a_chat_model_is_asked_through_its_template(tmp_path, word_tokenizer, save_llama):
    tokenizer = word_tokenizer(template="<s> $A", chat_template=TEMPLATE)
    model = save_llama(tmp_path, tokenizer)
    judge = AskLLM(str(tmp_path), prompt="ask-llm")
    message = PROMPTS["ask-llm"].around("the red dog") + CHAT_REMINDER
    expected = by_hand(model, tokenizer, f"<s>user {message}</s><s>", add_special_tokens=False)
    scores = judge.score(["the red dog"]).select("logp_yes_raw", "logp_yes", "logp_no").to_numpy()[0]
    np.testing.assert_allclose(scores, expected, atol=1e-4)


def test_logits_that_are_not_numbers_give_null_scores_only_for_their_rows(
    tmp_path, word_tokenizer, save_llama
):
    tokenizer = word_tokenizer(template="<s> $A")
    model = save_llama(tmp_path, tokenizer)
    with torch.no_grad():
        model.model.embed_tokens.weight[tokenizer.convert_tokens_to_ids("dog")] = float("nan")
    model.save_pretrained(tmp_path)
    scores = AskLLM(str(tmp_path), prompt="ask-llm", batch_size=1).score(["the cat", "the dog", ""])
    assert scores["margin"].is_null().to_list() == [False, True, False]
    assert scores["answer_mass"].is_null().to_list() == [False, True, False]
    assert scores["truncated"].to_list() == [False, False, False]


def test_the_document_is_cut_to_the_context_and_the_question_stays(tmp_path, word_tokenizer, save_llama):
    tokenizer = word_tokenizer(template="<s> $A </s>")  # closes its texts, after which no answer would follow
    asked = len(tokenizer(PROMPTS["ask-llm"].around(""))["input_ids"])
    save_llama(tmp_path, tokenizer, context=asked + 20)
    judge = AskLLM(str(tmp_path), prompt="ask-llm", max_tokens=500)
    local = judge.local_judge()
    documents, cut = bounded_documents(local, ["the cat " * 100, "the cat"])
    (long, short) = question_ids(local, documents)
    end = tokenizer("strictly NOT - yes - no", add_special_tokens=False)["input_ids"][-4:]
    assert cut == [True, False]
    assert local.max_tokens <= 20
    assert len(long) <= asked + 20
    assert long[-4:] == short[-4:] == end
    assert judge.score(["the cat " * 100])["truncated"].item()


def test_a_context_without_room_is_refused(tmp_path, word_tokenizer, save_llama):
    save_llama(tmp_path, word_tokenizer(), context=32)
    with pytest.raises(JudgeModelError, match="leaves no room for a document"):
        AskLLM(str(tmp_path)).score(["the cat"])


def test_a_vocabulary_without_answers_is_refused(tmp_path, word_tokenizer, save_llama):
    save_llama(tmp_path, word_tokenizer(words=("yes", "the", "cat")))
    with pytest.raises(JudgeModelError, match="no single token for no"):
        AskLLM(str(tmp_path)).score(["the cat"])


def test_the_cached_start_of_the_question_changes_nothing(tmp_path, word_tokenizer, save_llama):
    save_llama(tmp_path, word_tokenizer(template="<s> $A"))
    folder = str(tmp_path)
    local = load_local_judge(
        judge_source(folder), judge_prompt(folder), max_tokens=64, dtype="float32", device="cpu"
    )
    questions = question_ids(local, ["the cat is red", "a dog", ""])
    assert all(ids[: len(local.prefix.ids)] == local.prefix.ids for ids in questions)
    with torch.inference_mode():
        cached = answer_logits(local, questions)
        odd = [[5, *questions[0][1:]], *questions[1:]]  # a question that starts otherwise is read in full
        read_in_full = answer_logits(local, odd)
    torch.testing.assert_close(cached[1:], read_in_full[1:], atol=1e-4, rtol=0)
    assert not torch.allclose(cached[0], read_in_full[0], atol=1e-3)


def test_bfloat16_is_another_scorer(tmp_path, word_tokenizer, save_llama):
    save_llama(tmp_path, word_tokenizer())
    full, half = (AskLLM(str(tmp_path), dtype=dtype) for dtype in ("float32", "bfloat16"))
    assert full.fingerprint != half.fingerprint
    difference = full.score(TEXTS)["margin"] - half.score(TEXTS)["margin"]
    assert 0 < difference.abs().max() < 0.5


def test_weights_that_are_not_safetensors_or_damaged_are_refused(tmp_path, word_tokenizer, save_llama):
    model = save_llama(tmp_path, word_tokenizer())
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(JudgeModelError, match="cannot load"):
        AskLLM(str(tmp_path), prompt="examples").score(["the cat"])
    weights.unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(JudgeModelError, match="cannot load"):
        AskLLM(str(tmp_path), prompt="examples").score(["the cat"])
