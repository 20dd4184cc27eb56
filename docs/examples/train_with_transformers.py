"""A trainer for Tamis: transformers' Trainer, in one process or, by `accelerate launch`, in several."""

import json
import os
import sys
import time
from pathlib import Path

import torch
import transformers as hf

BATCH, LONGEST = 8, 512  # rows a step, of all processes together; tokens a row
spec, folder, began = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[1]).parent, time.monotonic()
source = folder / spec["model"] if (folder / spec["model"]).is_dir() else spec["model"]
tokenizer = hf.AutoTokenizer.from_pretrained(source, padding_side="right")
tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
model = hf.AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
train, held_out = (
    [json.loads(line) for line in (folder / spec[name]).open()] for name in ("train", "evaluate")
)
collate = hf.DataCollatorForSeq2Seq(tokenizer)


def encode(row: dict) -> dict:  # labels of -100 are not learnt
    text, prompt = row.get("response", row.get("text")), f"{row['prompt']}\n\n" if "prompt" in row else ""
    coded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    begin = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    given = [begin, *tokenizer(prompt, add_special_tokens=False).input_ids][-LONGEST // 2 :]
    learnt, ends = coded.input_ids[: LONGEST - len(given)], [end for _, end in coded.offset_mapping]
    row["bytes"] = len(text[: ends[len(learnt) - 1] if len(learnt) < len(ends) else None].encode())
    return {"input_ids": given + learnt, "labels": [-100] * len(given) + learnt}


def measure(row: dict) -> dict:
    batch = collate([encode(row)]).to(model.device)
    with torch.no_grad():
        loss, tokens = model(**batch).loss.item(), int((batch["labels"] != -100).sum())
    return {"id": row["id"], "nats": loss * tokens, "tokens": tokens, "bytes": row["bytes"]}


arguments = hf.TrainingArguments(
    str(folder / spec["output"]), max_steps=spec["steps"], learning_rate=spec["learning_rate"],
    per_device_train_batch_size=BATCH // int(os.environ.get("WORLD_SIZE", "1")), seed=spec["seed"],
    save_strategy="no", report_to="none", include_num_input_tokens_seen="non_padding",
    use_cpu=not torch.cuda.is_available(),
)  # fmt: skip
trainer = hf.Trainer(model, arguments, train_dataset=[*map(encode, train)], data_collator=collate)
if spec["steps"]:  # with 0 steps, Tamis asks for the losses of the model as it is
    trainer.train()
if trainer.is_world_process_zero():
    model.eval()
    trainer.save_model()
    tokenizer.save_pretrained(folder / spec["output"])
    answer = {"run": spec["run"], "seed": spec["seed"], "checkpoint": spec["output"]}
    answer |= {"tokens": int(trainer.state.num_input_tokens_seen), "seconds": time.monotonic() - began}
    (folder / spec["result"]).write_text(json.dumps(answer | {"evaluations": [*map(measure, held_out)]}))
