"""A trainer for Tamis: TRL's SFTTrainer on prompts with responses, conversations or texts."""

import json
import sys
import time
from pathlib import Path

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

spec_path = Path(sys.argv[1])
folder, spec, began = spec_path.parent, json.loads(spec_path.read_text()), time.monotonic()
source = folder / spec["model"] if (folder / spec["model"]).is_dir() else spec["model"]
tokenizer = AutoTokenizer.from_pretrained(source)
model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)


def read(name: str) -> list[dict]:
    rows = [json.loads(line) for line in (folder / spec[name]).read_text().splitlines()]
    for row in rows:
        if "prompt" in row:
            row |= {"prompt": row["prompt"] + "\n\n", "completion": row.pop("response")}
    return rows


def learnt(row: dict) -> str:
    if "messages" in row:
        return "".join(one["content"] for one in row["messages"] if one["role"] == "assistant")
    return row.get("completion", row.get("text"))


held_out = read("evaluate")
data = read("train") or held_out  # without steps, nothing of it is learnt
config = SFTConfig(
    output_dir=str(folder / spec["output"]), max_steps=max(1, spec["steps"]),
    learning_rate=spec["learning_rate"], per_device_train_batch_size=8, max_length=512, seed=spec["seed"],
    assistant_only_loss="messages" in data[0], save_strategy="no", report_to="none",
    include_num_input_tokens_seen="non_padding", use_cpu=not torch.cuda.is_available(),
)  # fmt: skip
columns = [{name: value for name, value in row.items() if name != "id"} for row in data]
trainer = SFTTrainer(model, config, train_dataset=Dataset.from_list(columns), processing_class=tokenizer)
if spec["steps"]:  # with 0 steps, Tamis asks for the losses of the model as it is
    trainer.train()
model.eval()
evaluations = []
for row in held_out:
    given = Dataset.from_list([{name: value for name, value in row.items() if name != "id"}])
    (encoded,) = trainer._prepare_dataset(given, tokenizer, config, False, None, "evaluate")
    batch = {name: value.to(model.device) for name, value in trainer.data_collator([encoded]).items()}
    with torch.no_grad():
        loss, count = model(**batch).loss, int((batch["labels"][:, 1:] != -100).sum())
    nats = float(loss) * count if count else 0.0
    evaluations.append({"id": row["id"], "nats": nats, "tokens": count, "bytes": len(learnt(row).encode())})
trainer.save_model()
tokens, seconds = int(trainer.state.num_input_tokens_seen), time.monotonic() - began
answer = {"run": spec["run"], "seed": spec["seed"], "checkpoint": spec["output"], "tokens": tokens}
answer |= {"seconds": seconds, "evaluations": evaluations}
(folder / spec["result"]).write_text(json.dumps(answer))
