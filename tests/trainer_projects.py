"""Projects with a small causal model and a selection of texts, instructions or conversations."""

import json
from pathlib import Path

from projects import SmallProject, base_model, corpus, plain_project, selection, sentences, settings, write

MADE = frozenset({"raw_shards", "documents", "near_duplicates", "token_counts", "selected_subset"})
TEMPLATE = "{% for turn in messages %}<{{ turn['role'] }}> {{ turn['content'] }}</s>{% endfor %}"
RECIPE = """
[fine_tuning]
epochs = 2
sequence_length = 48
batch_size = 2
learning_rate = 1e-3
accumulation = 2

"""
LORA = {"lora_rank": 2, "lora_dropout": 0.25, "learning_rate": 2e-5}
COUNT = 12
FORMS = ("text", "alpaca", "messages", "problem", "preference")


def write_model(folder: Path, template: str | None = TEMPLATE) -> None:
    """Write a Llama of some thousand parameters with a tokenizer of words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = {
        word for topic in ("cooking", "sailing") for text in sentences(topic, 40, 1) for word in text.split()
    }
    vocabulary = {word: at for at, word in enumerate(["<s>", "</s>", "<unk>", *sorted(words)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    made.chat_template = template
    made.save_pretrained(folder)
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(vocabulary), eos_token_id=1, bos_token_id=0, **size)
    LlamaForCausalLM(config).save_pretrained(folder)


def rows_of(form: str) -> list[dict]:
    """Rows of a format; conversations with a system turn, calls of tools and two turns of a speaker."""
    seed = FORMS.index(form)
    texts = sentences("cooking", COUNT, seed, words=20)
    questions = sentences("sailing", COUNT, seed, words=20)
    if form == "text":
        return [{"text": text} for text in texts]
    if form == "alpaca":
        return [
            {"instruction": question, "input": "" if at % 2 else "more", "output": text}
            for at, (question, text) in enumerate(zip(questions, texts, strict=True))
        ]
    if form == "problem":
        return [{"question": one, "answer": other} for one, other in zip(questions, texts, strict=True)]
    if form == "preference":
        return [
            {"prompt": question, "chosen": text, "rejected": f"Not {text}", "gap": at / 4}
            for at, (question, text) in enumerate(zip(questions, texts, strict=True))
        ]
    return [
        {
            "messages": [
                {"role": "system", "content": "Answer."},
                {"role": "user", "content": question},
                {"role": "assistant", "content": text},
                {"role": "user", "content": f"Again {at}."},
                {"role": "assistant", "content": question},
            ]
        }
        for at, (question, text) in enumerate(zip(questions, texts, strict=True))
    ]


def trainer_project(root: Path, *forms: str, more: str = "", **model: object) -> SmallProject:
    """Return a project whose selection `all` takes all rows of corpora of these formats; nothing is made."""
    write_model(root / "model")
    corpora = [corpus(form, form, **({"format": form} if form != "text" else {})) for form in forms]
    text = settings(
        *corpora, selection("all", "random", 1_000), RECIPE, base_model("small", None, path="model", **model)
    )
    project = plain_project(root, text + more, {})
    for form in forms:
        write(root / form / "rows.jsonl", map(json.dumps, rows_of(form)))
    return project
