"""A trainer for Tamis: transformers' Trainer, in one process or, by `accelerate launch`, in several."""

import json
import os
import sys
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

BATCH, LONGEST = 8, 512  # rows a step, of all processes together; tokens a row
spec_path = Path(sys.argv[1])
folder, spec, began = spec_path.parent, json.loads(spec_path.read_text()), time.monotonic()
source = folder / spec["model"] if (folder / spec["model"]).is_dir() else spec["model"]
tokenizer = AutoTokenizer.from_pretrained(source)
model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)


def encode(row: dict) -> dict:  # labels of -100 are not learnt
    prompt = tokenizer(row["prompt"] + "\n\n", add_special_tokens=False).input_ids if "prompt" in row else []
    learnt = tokenizer(row.get("response", row.get("text")), add_special_tokens=False).input_ids
    begin = [tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id]
    ids, labels = begin + prompt + learnt, [-100] * (1 + len(prompt)) + learnt
    return {"input_ids": torch.tensor(ids[:LONGEST]), "labels": torch.tensor(labels[:LONGEST])}


def pad(rows: list[dict]) -> dict:
    pad = torch.nn.utils.rnn.pad_sequence
    lengths = torch.tensor([len(row["input_ids"]) for row in rows])
    return {
        "input_ids": pad([row["input_ids"] for row in rows], batch_first=True),
        "labels": pad([row["labels"] for row in rows], batch_first=True, padding_value=-100),
        "attention_mask": (torch.arange(int(lengths.max())) < lengths[:, None]).long(),
    }


def read(name: str) -> list[dict]:
    return [json.loads(line) for line in (folder / spec[name]).read_text().splitlines()]


def measure(row: dict) -> dict:
    batch = {name: value.to(model.device) for name, value in pad([encode(row)]).items()}
    count = int((batch["labels"] != -100).sum())
    with torch.no_grad():
        nats = float(model(**batch).loss) * count if count else 0.0
    size = len(row.get("response", row.get("text")).encode())
    return {"id": row["id"], "nats": nats, "tokens": count, "bytes": size}


arguments = TrainingArguments(
    output_dir=str(folder / spec["output"]), max_steps=spec["steps"], learning_rate=spec["learning_rate"],
    per_device_train_batch_size=BATCH // int(os.environ.get("WORLD_SIZE", "1")), seed=spec["seed"],
    save_strategy="no", report_to="none", include_num_input_tokens_seen="non_padding",
    use_cpu=not torch.cuda.is_available(),
)  # fmt: skip
trainer = Trainer(model, arguments, train_dataset=[encode(row) for row in read("train")], data_collator=pad)
if spec["steps"]:  # with 0 steps, Tamis asks for the losses of the model as it is
    trainer.train()
if trainer.is_world_process_zero():
    model.eval()
    trainer.save_model()
    tokenizer.save_pretrained(folder / spec["output"])
    answer = {"run": spec["run"], "seed": spec["seed"], "checkpoint": spec["output"]}
    answer |= {"tokens": int(trainer.state.num_input_tokens_seen), "seconds": time.monotonic() - began}
    answer["evaluations"] = [measure(row) for row in read("evaluate")]
    (folder / spec["result"]).write_text(json.dumps(answer))
