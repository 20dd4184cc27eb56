"""Run `tamis` commands one after another in this process, in float32 and on one thread.

    python golden_command.py COMMANDS.json ANSWERS.json

COMMANDS.json holds lists of arguments; ANSWERS.json gets the exit code, stdout and stderr of each. Only the
entry point of the command line is run, and nothing of Tamis is imported by name.

Where no setting says in which precision to compute (evaluation, perplexity, passes of transport), Tamis
asks torch whether the processor multiplies bfloat16. Here torch says no on every machine, so all of that
runs in float32.
"""

import contextlib
import io
import json
import os
import runpy
import sys
from pathlib import Path

QUESTIONS = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")


def without_bfloat16() -> None:
    """Let torch report no processor instructions for bfloat16; fail where torch has no such question."""
    import torch

    for question in QUESTIONS:
        if not hasattr(torch.cpu, question):
            raise SystemExit(f"torch.cpu.{question} is gone: find what Tamis asks now, and deny it here")
        setattr(torch.cpu, question, lambda: False)
    torch.set_num_threads(1)


def answer(arguments: list[str]) -> dict[str, object]:
    """Exit code, stdout and stderr of one command."""
    output, errors = io.StringIO(), io.StringIO()
    sys.argv = ["tamis", *arguments]
    code: object = 0
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            runpy.run_module("tamis.cli", run_name="__main__", alter_sys=True)
        except SystemExit as ended:
            code = ended.code or 0
    return {"arguments": arguments, "code": code, "output": output.getvalue(), "errors": errors.getvalue()}


def main() -> None:
    """Run the commands of the first file and write their answers into the second."""
    asked, answered = (Path(name) for name in sys.argv[1:3])
    without_bfloat16()
    answers = [answer(arguments) for arguments in json.loads(asked.read_text())]
    answered.write_text(json.dumps(answers))
    os._exit(0)  # at its end the process of a command takes the code of that command


if __name__ == "__main__":
    main()
