"""Loads a judge: its model, its tokenizer, the tokens of its answers, and the start all its questions share.

safetensors only, no remote code, and no network for anything but a hub id. The embedded judge takes 4 s.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tamis.base.imports import ONE_MODEL_AT_A_TIME
from tamis.quality.identity import JudgeModelError, JudgeSource
from tamis.quality.local_judge import AnswerTokens, LocalJudge, prefix_cache, question_ids
from tamis.quality.prompts import CHAT_REMINDER, DOCUMENT_MARK, Prompt, with_chat_template
from tamis.training.gguf_model import load_gguf

YES = ("yes", "Yes", "YES", " yes", " Yes", " YES")
NO = ("no", "No", "NO", " no", " No", " NO")
START_OF_TEXT = "<|endoftext|>"
JOINT = 4  # tokens: document and prompt tokenized together may need a few more than apart


def load_local_judge(
    source: JudgeSource, prompt: Prompt, *, max_tokens: int, dtype: str, device: str
) -> LocalJudge:
    """Load a judge onto a device ("auto": the accelerator if there is one).

    Raises `JudgeModelError` when its vocabulary has no single token for yes or no, or its context no room
    for a document and the question.
    """
    import torch

    place = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    with _without_progress_bars():
        model, tokenizer = _loaded(source)
    model = model.to(device=place, dtype=getattr(torch, dtype)).eval()
    return asked_with(model, tokenizer, prompt, max_tokens, source)


def asked_with(
    model: Any, tokenizer: Any, prompt: Prompt, max_tokens: int, source: JudgeSource
) -> LocalJudge:
    """Return the judge that asks a loaded model this; raise `JudgeModelError` when it leaves no room."""
    chat = prompt.name == "ask-llm" and not model.config.is_encoder_decoder and bool(tokenizer.chat_template)
    judge = LocalJudge(
        model=model,
        tokenizer=tokenizer,
        prompt=_chat_prompt(prompt, tokenizer) if chat else _completion_prompt(prompt, tokenizer),
        answers=_answer_tokens(tokenizer, prompt, source.location),
        special_tokens=_special_tokens(tokenizer),
        adds_special_tokens=not chat,
        max_tokens=max_tokens,
    )
    judge = replace(judge, max_tokens=_room(judge, source.location))
    return replace(judge, prefix=prefix_cache(judge))


def _loaded(source: JudgeSource) -> tuple[Any, Any]:
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    if source.kind == "embedded":
        return load_gguf(Path(source.location))
    options: dict[str, Any] = {"local_files_only": source.kind == "folder", "trust_remote_code": False}
    if source.revision is not None:
        options["revision"] = source.revision
    try:
        config = AutoConfig.from_pretrained(source.location, **options)
        family = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        with ONE_MODEL_AT_A_TIME:
            model = family.from_pretrained(source.location, config=config, use_safetensors=True, **options)
        return model, AutoTokenizer.from_pretrained(source.location, **options)
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        problem = f"transformers cannot load the model ({error}); repair its files, or use another judge"
        raise JudgeModelError(source.location, problem) from error


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _chat_prompt(prompt: Prompt, tokenizer: Any) -> Prompt:
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt.around(DOCUMENT_MARK) + CHAT_REMINDER}],
        tokenize=False,
        add_generation_prompt=True,
        enable_thinking=False,  # templates that know no thinking ignore it
    )
    return with_chat_template(prompt, rendered)


def _completion_prompt(prompt: Prompt, tokenizer: Any) -> Prompt:
    # Examples work better as the start of a text (AUC .88 against .86); most tokenizers see to it themselves.
    begins_itself = bool(tokenizer("")["input_ids"])
    if prompt.name != "examples" or begins_itself or START_OF_TEXT not in tokenizer.get_vocab():
        return prompt
    return replace(prompt, prefix=START_OF_TEXT + prompt.prefix)


def _answer_tokens(tokenizer: Any, prompt: Prompt, name: str) -> AnswerTokens:
    yes, no = _single_tokens(tokenizer, YES), _single_tokens(tokenizer, NO)
    if not yes or not no:
        missing = " or ".join(word for word, ids in (("yes", yes), ("no", no)) if not ids)
        raise JudgeModelError(
            name, f"the model's vocabulary has no single token for {missing}; use another judge"
        )
    return AnswerTokens(
        raw=_single_tokens(tokenizer, (prompt.answer, prompt.answer.strip(), *YES))[0], yes=yes, no=no
    )


def _single_tokens(tokenizer: Any, spellings: Sequence[str]) -> tuple[int, ...]:
    encoded = [tokenizer.encode(spelling, add_special_tokens=False) for spelling in spellings]
    return tuple(
        dict.fromkeys(ids[0] for ids in encoded if len(ids) == 1 and ids[0] != tokenizer.unk_token_id)
    )


def _special_tokens(tokenizer: Any) -> tuple[str, ...]:
    added = [
        token.content
        for token in tokenizer.added_tokens_decoder.values()
        if token.special or token.content.startswith("<")
    ]
    return tuple(sorted({*added, *tokenizer.all_special_tokens}))


def _room(judge: LocalJudge, name: str) -> int:
    context = getattr(judge.model.config, "max_position_embeddings", None)
    if context is None:  # relative positions: no limit
        return judge.max_tokens
    asked = len(question_ids(judge, [""])[0])
    room = int(context) - asked - JOINT
    if room < 1:
        raise JudgeModelError(
            name,
            f"the question has {asked} tokens, which leaves no room for a document in the model's context of "
            f"{context} tokens; use a judge with a longer context",
        )
    return min(judge.max_tokens, room)
