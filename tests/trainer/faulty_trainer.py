"""A trainer that fails in one of many ways, each with the sentence that a person should read.

`RUN` is its program: it trains as it should, and does what the fault in fault.json says.
"""

from dataclasses import dataclass

RUN = r"""
import json, math, os, random, resource, shutil, signal, struct, subprocess, sys, time
from pathlib import Path

path = Path(sys.argv[-1])
folder, spec, root = path.parent, json.loads(path.read_text()), Path.cwd()
given = json.loads((root / "fault.json").read_text())
draw = random.Random(given["seed"])
with (root / "calls.txt").open("a") as calls:
    calls.write(spec["run"] + "\n")
rows = [json.loads(line) for line in (folder / spec["train"]).read_text().splitlines()]
held_out = [json.loads(line) for line in (folder / spec["evaluate"]).read_text().splitlines()]
print("reading", held_out, flush=True)
evaluations = []
for row in held_out:
    text = row.get("response", row.get("text", ""))
    nats = len(text.encode()) / (1 + math.log1p(spec["steps"] * len(rows)))
    evaluations.append({"id": row["id"], "nats": nats, "tokens": len(text), "bytes": len(text.encode())})
result = {
    "run": spec["run"], "seed": spec["seed"], "seconds": 1.5, "tokens": spec["tokens"],
    "checkpoint": spec["output"], "evaluations": evaluations,
}
answer, output = folder / spec["result"], folder / spec["output"]
header = json.dumps({"w": {"dtype": "F32", "shape": [10], "data_offsets": [0, 40]}}).encode()
weights = struct.pack("<Q", len(header)) + header + bytes(40)


def checkpoint():
    output.mkdir(exist_ok=True)
    (output / "model.safetensors").write_bytes(weights)
    (output / "config.json").write_text("{}")


def write(value):
    answer.write_text(value if isinstance(value, str) else json.dumps(value))


def sleep():
    while True:
        time.sleep(60)


def daemon(code):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            exec(code, globals())
        os._exit(0)


some = draw.choice(evaluations)
fault = given["code"] if spec["steps"] else ""
checkpoint()
if "WRITTEN" not in fault:
    write(result)
exec(fault)
"""


@dataclass(frozen=True)
class Fault:
    """Code that a trainer runs once it has trained; with WRITTEN in it, before it has answered.

    `says`: a pattern of the reason, "" where nothing is wrong. `permanent`: not tried again. `runs`: until it
    has failed.
    """

    code: str
    says: str = ""
    permanent: bool = False
    runs: int = 1


ID, COUNT = "[0-9a-f]{32}", r"\d+"
NO_RESULT = "the command ended without writing it"
NO_JSON = "is refused: it is not JSON in UTF-8"
EXIT = "the command of .trainer. ended with exit code"
ELSEWHERE = "is not below the folder of the spec"
LIMIT = "was stopped at its time limit of 1 s"
ERASED = "erased .*, the folder of its spec"
FAULTS = {
    "nothing": Fault(""),
    "any exit code": Fault("os._exit(draw.randint(1, 255))", EXIT),
    "137": Fault("os._exit(137)", f"{EXIT} 137: it was killed, often for lack of memory"),
    "a crash before it answers": Fault("1 / 0  # WRITTEN", f"{EXIT} 1;"),
    "a crash after it has answered": Fault("1 / 0", f"{EXIT} 1;"),
    "a signal": Fault(
        "os.kill(os.getpid(), draw.choice([signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGTERM]))",
        f"{EXIT} 1",
    ),
    "a full disk": Fault(
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); (output / 'more').write_bytes(bytes(2000))",
        f"{EXIT} (1;|153)",
    ),
    "hangs": Fault("sleep()", LIMIT, True),
    "hangs and hears no SIGTERM": Fault(
        "[signal.signal(number, signal.SIG_IGN) for number in (signal.SIGTERM, signal.SIGHUP)]; sleep()",
        LIMIT,
        True,
    ),
    "stops itself": Fault("os.kill(os.getpid(), signal.SIGSTOP)", LIMIT, True),
    "a daemon outlives it": Fault("daemon('sleep()')"),
    "a daemon answers later": Fault("daemon('time.sleep(3); write(result)')  # WRITTEN", NO_RESULT),
    "a worker outlives it": Fault("subprocess.Popen(['sleep', '600'])"),
    "ends its supervisor": Fault("os.kill(os.getppid(), signal.SIGKILL)"),
    "ends its supervisor and fails": Fault(
        "os.kill(os.getppid(), signal.SIGKILL); time.sleep(0.5); 1 / 0  # WRITTEN",
        "ended without an exit code",
        runs=2,
    ),
    "asks its supervisor to end": Fault("os.kill(os.getppid(), signal.SIGTERM); sleep()", "was stopped;"),
    "no result": Fault("# WRITTEN", NO_RESULT),
    "part of the result": Fault(
        "text = json.dumps(result); write(text[:draw.randrange(1, len(text))])", NO_JSON
    ),
    "an empty result": Fault("write('')", NO_JSON),
    "no object": Fault(
        "write(draw.choice(['[]', 'null', '3', '\"text\"']))", "the whole file: Input should be"
    ),
    "more than JSON": Fault("write(json.dumps(result) + '\\n{}')", NO_JSON),
    "deep": Fault("write('[' * 10**6)", NO_JSON),
    "deep in a key": Fault(
        "write(json.dumps(result)[:-1] + ', \"x\": ' + '[' * 10**5 + ']' * 10**5 + '}')", NO_JSON
    ),
    "bytes that are no text": Fault("answer.write_bytes(draw.randbytes(1000))", NO_JSON),
    "UTF-8 with a mark": Fault("answer.write_text(json.dumps(result), encoding='utf-8-sig')"),
    "UTF-16": Fault("answer.write_text(json.dumps(result), encoding='utf-16')"),
    "a large result": Fault("write(result | {'log': 'x' * 20_000_000})"),
    "a result too large": Fault("os.truncate(answer, 1 << 31)", "is refused: it has over 1 GiB"),
    "written twice": Fault("write({'run': 'x'}); write(result)"),
    "a pipe": Fault("os.mkfifo(answer)  # WRITTEN", "is refused: it is not a file"),
    "a folder as result": Fault("answer.mkdir()  # WRITTEN", "is refused: it is not a file"),
    "a device": Fault("answer.symlink_to('/dev/zero')  # WRITTEN", "is refused: it is not a file"),
    "a link to itself": Fault("answer.symlink_to(answer)  # WRITTEN", "is refused: Too many levels"),
    "another run": Fault("write(result | {'run': 'f00-seed-0-0'})", "its run is 'f00-seed-0-0', expected '"),
    "a text for a run": Fault("write(result | {'run': str(held_out)})", "its run is another, expected '"),
    "another seed": Fault(
        "write(result | {'seed': result['seed'] + draw.choice([-1, 1, 10**9])})", "its seed is"
    ),
    "missing ids": Fault("evaluations.pop(); write(result)", f"1 of {COUNT} ids are missing.*: {ID}$"),
    "no ids": Fault("evaluations.clear(); write(result)", f"{COUNT} of {COUNT} ids are missing"),
    "more ids": Fault("write(result | {'evaluations': [*evaluations, some | {'id': 'e' * 32}]})", "1 ids in"),
    "an id twice": Fault("evaluations.append(some); write(result)", "1 ids occur more than once"),
    "an id that is no text": Fault(
        "some['id'] = draw.choice([1, None, [], True]); write(result)", r"evaluations\.\d+\.id: "
    ),
    "a loss that is no number": Fault(
        "some['nats'] = draw.choice([math.nan, math.inf, -1.0, 1e300, '1', True, None]); write(result)",
        r"evaluations\.\d+\.nats: Input should be",
    ),
    "a loss of all that is too large": Fault(
        "[row.update(nats=1e308) for row in evaluations]; write(result)", r"evaluations\.0\.nats: Input"
    ),
    "tokens that are no count": Fault(
        "some['tokens'] = draw.choice([-1, 1.5, '2', True, None, 10**40]); write(result)",
        r"evaluations\.\d+\.tokens: ",
    ),
    "no tokens": Fault("some['tokens'] = 0; write(result)", f"tokens of {ID}: 0, but bytes is not"),
    "no bytes": Fault("[row.update(bytes=0) for row in evaluations]; write(result)", "measure no byte"),
    "too many bytes": Fault(
        "some['bytes'] += draw.randint(1, 10**6); write(result)", f"bytes of {ID}: more than"
    ),
    "an absurd cost": Fault(
        "write(result | {draw.choice(['seconds', 'tokens', 'flop']): draw.choice([-1, 10**60, math.nan])})",
        "is refused: (seconds|tokens|flop): Input should be",
    ),
    "a key is missing": Fault(
        "del result[draw.choice(['run', 'seed', 'seconds', 'tokens', 'evaluations'])]; write(result)",
        "is refused: (run|seed|seconds|tokens|evaluations): Field required",
    ),
    "no checkpoint": Fault("shutil.rmtree(output)", "is not a folder with files"),
    "a checkpoint that is a file": Fault(
        "shutil.rmtree(output); output.write_text('x')", "is not a folder with files"
    ),
    "a checkpoint elsewhere": Fault(
        "write(result | {'checkpoint': draw.choice(['..', '../..', '/etc', str(root), '.', ''])})", ELSEWHERE
    ),
    "a checkpoint without a name": Fault(
        "write(result | {'checkpoint': 'a\\0b'})", "cannot be read: embedded null"
    ),
    "a checkpoint with a long name": Fault(
        "write(result | {'checkpoint': 'a' * 5000})", "cannot be read: File name"
    ),
    "a checkpoint that is a loop": Fault(
        "shutil.rmtree(output); output.symlink_to(output)", "cannot be read: (Symlink loop|Too many)"
    ),
    "a checkpoint that is a link elsewhere": Fault(
        "shutil.rmtree(output); output.symlink_to(root)", ELSEWHERE
    ),
    "a folder that links elsewhere": Fault(
        "(output / 'x').symlink_to(root)", r"links to files elsewhere \(x\)"
    ),
    "a folder that links to itself": Fault(
        "(output / 'x').symlink_to(output)", r"links to files elsewhere \(x\)"
    ),
    "a file that links elsewhere": Fault(
        "(output / 'x').symlink_to(root / 'fault.json')", r"links to files elsewhere \(x\)"
    ),
    "a file that links within": Fault("(output / 'x').symlink_to('config.json')"),
    "a pipe in the checkpoint": Fault("os.mkfifo(output / 'x')", r"cannot be read as a file \(x\)"),
    "weights that are cut off": Fault(
        "(output / 'model.safetensors').write_bytes(weights[: draw.randrange(len(weights))])", "is cut off"
    ),
    "weights with a strange header": Fault(
        "offsets = json.dumps({'a': {'data_offsets': [0, 'x']}}); "
        "header = draw.choice(['[]', '{\"a\": 1}', offsets, '[' * 10**5]).encode();"
        "(output / 'model.safetensors').write_bytes(struct.pack('<Q', len(header)) + header)",
        "is cut off",
    ),
    "a shard is missing": Fault(
        "maps = [json.dumps({'weight_map': {'a': shard}}) for shard in ('b.safetensors', [1], 3)];"
        "index = output / 'model.safetensors.index.json';"
        "index.write_text(draw.choice([*maps, '[]', '{', '[' * 10**5]))",
        "is not complete: ",
    ),
    "erases its folder": Fault("shutil.rmtree(folder)", ERASED),
    "erases its folder at once": Fault("shutil.rmtree(folder); sleep()  # WRITTEN", ERASED),
    "erases the folder around its own": Fault("shutil.rmtree(folder.parent)", ERASED),
    "erases the folder around its own at once": Fault(
        "shutil.rmtree(folder.parent); sleep()  # WRITTEN", ERASED
    ),
    "a pipe for its log": Fault(
        "log = folder / 'log.txt'; log.unlink(); os.mkfifo(log); 1 / 0",
        f"{EXIT} 1;",
    ),
    "a pipe for the lock of its supervisor": Fault(
        "lock = folder / 'lock'; lock.unlink(); os.mkfifo(lock); time.sleep(1)"
    ),
    "erases the spec": Fault("path.unlink()"),
    "changes the spec": Fault("path.write_text(json.dumps(spec | {'run': 'x', 'seed': 5, 'steps': 99}))"),
    "changes the spec and answers it": Fault(
        "path.write_text(json.dumps(spec | {'seed': 5})); write(result | {'seed': 5})",
        "its seed is 5, expected 0",
    ),
    "writes over a file of its supervisor": Fault("(folder / 'process.json').write_text('{')"),
    "erases the rows": Fault("(folder / spec['train']).unlink(); (folder / spec['evaluate']).unlink()"),
    "locks its folder": Fault("folder.chmod(0)"),
    "locks its folder and hangs": Fault("folder.chmod(0); sleep()", LIMIT, True),
    "locks its caches": Fault("(folder / 'cache').chmod(0)"),
    "prints much": Fault("[sys.stdout.write('x' * 10**6 + '\\n') for _ in range(50)]"),
    "prints what is no text": Fault("sys.stdout.buffer.write(draw.randbytes(10**6)); 1 / 0", f"{EXIT} 1;"),
    "closes its streams": Fault("[os.close(number) for number in (0, 1, 2)]"),
    "leaves the folder of the project": Fault("os.chdir('/')"),
    "another process group": Fault("os.setpgid(0, 0) if os.getpid() != os.getpgid(0) else None"),
    "files of the future": Fault("[os.utime(file, (9e9, 9e9)) for file in (path, answer, folder)]"),
    "variables": Fault("assert os.environ['TMPDIR'].startswith(str(folder)) and 'HF_HOME' in os.environ"),
}
