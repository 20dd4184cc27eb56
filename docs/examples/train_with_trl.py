"""A trainer for Tamis: TRL's SFTTrainer on prompts with responses, conversations or texts."""

import json
import sys
import time
from pathlib import Path

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

spec, folder, began = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[1]).parent, time.monotonic()
source = folder / spec["model"] if (folder / spec["model"]).is_dir() else spec["model"]
tokenizer = AutoTokenizer.from_pretrained(source)
model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)


def read(name: str) -> list[dict]:
    rows = [json.loads(line) for line in (folder / spec[name]).open()]
    for row in rows:
        if "prompt" in row:
            row |= {"prompt": row["prompt"] + "\n\n", "completion": row.pop("response")}
    return rows


def without_ids(rows: list[dict]) -> Dataset:
    return Dataset.from_list([{name: value for name, value in row.items() if name != "id"} for row in rows])


def measure(row: dict, encoded: dict) -> dict:
    said = [turn["content"] for turn in row.get("messages", ()) if turn["role"] == "assistant"]
    learnt = "".join(said) or row.get("completion", row.get("text"))
    batch = {name: value.to(model.device) for name, value in trainer.data_collator([encoded]).items()}
    with torch.no_grad():
        loss, tokens = model(**batch).loss.item(), int((batch["labels"][:, 1:] != -100).sum())
    return {"id": row["id"], "nats": loss * tokens, "tokens": tokens, "bytes": len(learnt.encode())}


held_out = read("evaluate")
data = read("train") or held_out  # without steps, nothing of it is learnt
config = SFTConfig(
    str(folder / spec["output"]), max_steps=max(1, spec["steps"]), learning_rate=spec["learning_rate"],
    per_device_train_batch_size=8, max_length=512, seed=spec["seed"], save_strategy="no", report_to="none",
    assistant_only_loss="messages" in data[0], include_num_input_tokens_seen="non_padding",
    use_cpu=not torch.cuda.is_available(),
)  # fmt: skip
trainer = SFTTrainer(model, config, train_dataset=without_ids(data), processing_class=tokenizer)
if spec["steps"]:  # with 0 steps, Tamis asks for the losses of the model as it is
    trainer.train()
model.eval()
config.max_length = None  # held-out rows are measured whole
encoded = trainer._prepare_dataset(without_ids(held_out), tokenizer, config, False, None, "evaluate")
answer = {"run": spec["run"], "seed": spec["seed"], "checkpoint": spec["output"]}
answer["evaluations"] = [measure(*pair) for pair in zip(held_out, encoded, strict=True)]
trainer.save_model()
answer |= {"tokens": int(trainer.state.num_input_tokens_seen), "seconds": time.monotonic() - began}
(folder / spec["result"]).write_text(json.dumps(answer))
