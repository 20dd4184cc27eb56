"""A trainer without a model: losses that follow from steps and data, and every kind of failure."""

import time

FAKE = r"""
import json, math, os, signal, struct, sys, time
from pathlib import Path

path = Path(sys.argv[1])
folder, spec = path.parent, json.loads(path.read_text())
root = Path.cwd()
with (root / "calls.txt").open("a") as calls:
    calls.write(spec["run"] + "\n")
mode = (root / "mode.txt").read_text().strip() if (root / "mode.txt").exists() else ""
if spec["steps"] == 0 and not mode.startswith("base:"):
    mode = ""
mode = mode.removeprefix("base:")
rows = [json.loads(line) for line in (folder / spec["train"]).read_text().splitlines()]
held_out = [json.loads(line) for line in (folder / spec["evaluate"]).read_text().splitlines()]
print("reading", [row.get("text", "") for row in rows][:2], flush=True)
while (root / "hold").exists():
    time.sleep(0.05)
if mode == "137":
    os.kill(os.getpid(), signal.SIGKILL)
if mode == "exit":
    sys.exit(3)
if mode == "hang":
    time.sleep(600)


def learnt(row):
    if "messages" in row:
        return "".join(turn["content"] for turn in row["messages"] if turn["role"] == "assistant")
    return row.get("response", row.get("text"))


def loss(row):  # nats a byte
    return (2.0 + (spec["seed"] % 7) / 100) / (1 + math.log1p(spec["steps"] * len(rows)))


evaluations = [
    {"id": row["id"], "nats": loss(row) * len(learnt(row).encode()), "tokens": len(learnt(row).split()),
     "bytes": len(learnt(row).encode())}
    for row in held_out
]
weights = struct.pack("<Q", 2) + b"{}"
output = folder / spec["output"]
if mode != "no checkpoint":
    output.mkdir(exist_ok=True)
    (output / "model.safetensors").write_bytes(weights)
    (output / "config.json").write_text("{}")
result = {
    "run": spec["run"], "seed": spec["seed"], "seconds": 1.5, "tokens": spec["tokens"],
    "checkpoint": spec["output"], "evaluations": evaluations,
}
if mode == "other run":
    result["run"] = "another"
elif mode == "other seed":
    result["seed"] += 1
elif mode == "nan":
    evaluations[0]["nats"] = math.nan
elif mode == "missing":
    del evaluations[0], evaluations[1]
elif mode == "twice":
    evaluations.append(evaluations[0])
elif mode == "unknown":
    evaluations.append(evaluations[0] | {"id": "f" * 32})
elif mode == "many bytes":
    evaluations[0]["bytes"] *= 100
elif mode == "text":
    evaluations[0]["nats"] = "a secret sentence"
elif mode == "empty checkpoint":
    for file in output.iterdir():
        file.unlink()
elif mode == "cut checkpoint":
    (output / "model.safetensors").write_bytes(weights[:-1])
elif mode == "shard missing":
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (output / "model.safetensors.index.json").write_text(json.dumps(index))
elif mode == "outside":
    result["checkpoint"] = "../.."
elif mode == "no key":
    del result["tokens"]
if mode == "no result":
    sys.exit(0)
text = json.dumps(result)
(folder / spec["result"]).write_text(text[: len(text) // 2] if mode == "half" else text)
"""


def until(condition, what: str):
    """Wait for a condition, however busy the machine is, and return its answer."""
    deadline = time.monotonic() + 120
    while not (answer := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return answer
