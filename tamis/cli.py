"""The command line: one verb each. Heavy imports happen inside the verbs, so `tamis --help` is instant.

Logs and progress go to stderr; what a command answers goes to stdout, with `--json` as one document alone.
"""

import argparse
import atexit
import contextlib
import errno
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tamis.base.errors import NotMadeError, OutdatedError, PermanentError, TamisError, UnknownNameError
from tamis.base.progress import Heartbeat, close_all, complain, say, show
from tamis.base.signals import received_signals, record_signals
from tamis.base.waiting_threads import spin_briefly
from tamis.cli_audit import add_audit
from tamis.cli_control import add_control_verbs
from tamis.cli_explain import add_explain
from tamis.cli_health import add_health_verb
from tamis.cli_parts import add_verb as _verb
from tamis.cli_parts import checkout as _checkout
from tamis.cli_parts import platform_definitions
from tamis.cli_parts import platform_module as _platform
from tamis.cli_parts import print_json as _print_json
from tamis.cli_parts import with_json as _json
from tamis.cli_withdraw import add_purge_verb, add_withdraw_verb

INTERRUPTED = (130, 143)
"""Exit codes after Ctrl-C and after SIGTERM."""
EVERYTHING: dict[str, Any] = {
    "only": None,
    "on_request": False,
    "certified": False,
    "try_again": False,
    "choose_precision": False,
    "allow_removal": [],
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 done, 1 something is wrong with the data, 2 with the call.

    130 after Ctrl-C, 143 after SIGTERM.
    """
    try:
        parsed = _parser().parse_args(arguments)
        show(getattr(parsed, "style", "auto"))
        return int(parsed.verb(parsed))
    except TamisError as error:
        close_all()
        print(f"tamis: {error}", file=sys.stderr)
        return 2 if isinstance(error, PermanentError) else 1
    except BrokenPipeError:
        return 0
    except RuntimeError as error:
        from tamis.store.object_errors import object_store_problem

        if (problem := object_store_problem(error)) is None:
            raise
        print(f"tamis: {problem}", file=sys.stderr)
        return 2 if isinstance(problem, PermanentError) else 1
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        print(f"tamis: {error.strerror or error}{where}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        close_all()
        terminated = signal.SIGTERM in received_signals()
        said = "terminated" if terminated else "interrupted"
        print(f"tamis: {said}; run the same command again to go on", file=sys.stderr)
        return INTERRUPTED[terminated]


def console() -> None:
    """Entry point of the installed command; a request to terminate ends it as Ctrl-C does."""
    ended: list[int] = []
    atexit.register(_exit_as_interrupted, ended)  # before all others, so that it runs after them
    record_signals()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    spin_briefly()
    ended.append(main())
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.SIG_IGN)  # a second Ctrl-C would be a traceback of what closes now
    sys.exit(ended[0])


def _exit_as_interrupted(ended: Sequence[int]) -> None:
    """Exit with the code of an interrupted command.

    Python kills itself by SIGINT instead where the interrupt came within `exec`, though it was caught.
    """
    if ended and ended[0] in INTERRUPTED:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(ended[0])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tamis", description="Which documents to train on, and why.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    _spoken(_verb(verbs, "demo", _demo, "materialize the project and close with a summary"))
    _verb(verbs, "init", _init, "write a commented tamis.toml").add_argument("folder", nargs="?", default=".")
    _json(_verb(verbs, "plan", _plan, "what materialize would do")).add_argument(
        "--on-request", action="store_true", help="with the trials under [comparison.on_request]"
    )
    materialize = _spoken(_verb(verbs, "materialize", _materialize, "bring everything up to date"))
    materialize.add_argument("--only", nargs="+", metavar="ASSET", help="only these assets")
    materialize.add_argument(
        "--on-request", action="store_true", help="also the trials under [comparison.on_request]"
    )
    materialize.add_argument(
        "--certified",
        action="store_true",
        help="keep what was fitted on an earlier pool where its certificate allows, as sensors do",
    )
    materialize.add_argument(
        "--try-again",
        action="store_true",
        help="also trials that a budget left out because they failed, and what the process died of",
    )
    materialize.add_argument(
        "--choose-precision",
        action="store_true",
        help="measure again whether float32 or bfloat16 is faster here; what the other one made is due then",
    )
    materialize.add_argument(
        "--allow-removal",
        action="append",
        default=[],
        metavar="NAME",
        help="remove what is held back under this name, or `all`; may be given several times",
    )
    _json(_verb(verbs, "status", _status, "what is current, due, quarantined or red"))
    add_explain(verbs)
    export = _verb(verbs, "export", _export, "write the chosen documents as a file, with what describes it")
    export.add_argument("selection", metavar="SELECTION")
    export.add_argument("--format", choices=("parquet", "jsonl"), default="parquet")
    add_audit(verbs)
    _spoken(_verb(verbs, "compare", _compare, "what each sampler chooses, and what a model learns of it"))
    bench = _verb(
        verbs, "bench", _bench, "run a benchmark, a module of benchmarks; without a name: list them"
    )
    bench.add_argument("name", nargs="?", metavar="NAME")
    bench.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="what the benchmark takes")
    add_control_verbs(verbs)
    add_withdraw_verb(verbs)
    add_purge_verb(verbs)
    add_health_verb(verbs)
    ui = _verb(verbs, "ui", _ui, "serve Dagster's UI, on localhost unless told otherwise")
    ui.add_argument("--port", type=int, default=3000)
    ui.add_argument("--verbose", action="store_true", help="every tick of every sensor, as Dagster logs it")
    ui.add_argument(
        "--host", default="127.0.0.1", help="whoever reaches it may run everything: docs/deploy.md"
    )
    return parser


def _spoken(verb: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Let a person choose how much is said while it works."""
    either = verb.add_mutually_exclusive_group()
    either.add_argument(
        "--quiet", dest="style", action="store_const", const="quiet", help="say only what is wrong"
    )
    either.add_argument(
        "--verbose", dest="style", action="store_const", const="verbose", help="a line every moment"
    )
    verb.set_defaults(style="auto")
    return verb


def _init(parsed: argparse.Namespace) -> int:
    from tamis.starting import write_project_file

    path = write_project_file(Path(parsed.folder))
    print(f"wrote {path}; edit it, put files into the folders that it names, then run `tamis materialize`")
    return 0


def _demo(parsed: argparse.Namespace) -> int:
    from tamis.project import open_project
    from tamis.report.summary import summary

    code = _materialize(argparse.Namespace(**EVERYTHING))
    print(summary(open_project()))
    return code


def _materialize(parsed: argparse.Namespace) -> int:
    from tamis.project import open_project
    from tamis.status import read_status, unknown_assets

    with Heartbeat("reading the project"):
        project = open_project()
        only = unknown_assets(parsed.only)
        driver = _platform("driver")
    wanted = driver.Wanted(
        only=only,
        on_request=parsed.on_request,
        certified=parsed.certified,
        try_again=parsed.try_again,
        choose_precision=parsed.choose_precision,
        allow_removal=frozenset(parsed.allow_removal),
    )
    outcome = driver.materialize_project(project, say, wanted, platform_definitions)
    with Heartbeat("looking at what was made"):
        status = read_status(project).without(frozenset(outcome.failed))
    for name, error in outcome.failed.items():
        complain(f"failed: {name}: {error}")
    unmet = status.waiting(only)
    for line in (*status.problems(), *unmet):
        complain(line)
    pages = project.home.reports
    for line in (*status.search_lines(), *status.scaling_lines(pages), *status.selection_lines(pages)):
        say(line)
    wrong = bool(status.problems() or unmet)
    say(outcome.sentence(wrong, only))
    return int(bool(outcome.failed) or wrong)


def _plan(parsed: argparse.Namespace) -> int:
    from tamis.planning import HELD_BACK, plan_lines, read_plan
    from tamis.project import read_project

    plan = read_plan(read_project(), parsed.on_request)
    if parsed.json:
        _print_json(plan)
    else:
        print("\n".join(plan_lines(plan)))
    return int(any(entry["asset"] == HELD_BACK for entry in plan))


def _status(parsed: argparse.Namespace) -> int:
    from tamis.project import read_project
    from tamis.status import read_status

    status = read_status(read_project())
    if parsed.json:
        _print_json(status.to_json())
    else:
        print("\n".join(status.lines()))
    return int(bool(status.problems()))


def _export(parsed: argparse.Namespace) -> int:
    from tamis.exporting import export_selection
    from tamis.project import read_project
    from tamis.selection.stage import SELECTION_STAGE
    from tamis.status import due

    project = read_project()
    path, rows = export_selection(project, parsed.selection, parsed.format)
    print(f"{path}: {rows:,} documents")
    if reason := due(project, SELECTION_STAGE.name, parsed.selection):
        say(f"this choice is out of date ({reason}): `tamis materialize`, then export again")
    return 0


def _compare(parsed: argparse.Namespace) -> int:
    from tamis.comparison.stage import COMPARISON_STAGE, SAMPLER_COMPARISON, SAMPLER_TRIALS_STAGE
    from tamis.project import read_project
    from tamis.report.summary import comparison_lines
    from tamis.status import due

    project = read_project()
    if not project.settings.selection or not project.settings.target:
        raise PermanentError(
            f"{project.file} has nothing to compare: it needs a [[selection]] and a [[target]]"
        )
    trained = [SAMPLER_TRIALS_STAGE.name] if project.settings.sampler_trials.model else []
    wanted = [*trained, COMPARISON_STAGE.name]
    code = _materialize(argparse.Namespace(**EVERYTHING | {"only": wanted}))
    if not project.home.store.count(SAMPLER_COMPARISON.name):
        raise NotMadeError(COMPARISON_STAGE.name)
    for asset in wanted:
        if reason := due(project, asset, "", refit=False):
            raise OutdatedError(asset, reason)
    print("\n".join(comparison_lines(project)))
    return code


def _bench(parsed: argparse.Namespace) -> int:
    import importlib.util
    import runpy

    folder = _checkout() / "benchmarks"
    names = sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))
    if parsed.name is None:
        print("\n".join(names))
        return 0
    if parsed.name not in names:
        raise UnknownNameError("benchmark", parsed.name, names)
    assert importlib.util.find_spec(f"benchmarks.{parsed.name}") is not None
    sys.argv = [parsed.name, *parsed.rest]
    runpy.run_module(f"benchmarks.{parsed.name}", run_name="__main__")
    return 0


def _ui(parsed: argparse.Namespace) -> int:
    from tamis.project import open_project

    project = open_project()
    checkout = _checkout()
    _must_be_free(parsed.host, parsed.port)
    _platform("instance").open_instance(project).dispose()
    os.environ["TAMIS_PROJECT"] = str(project.file)
    os.chdir(checkout)
    say("starting Dagster's UI and the sensors")
    if parsed.host not in ("127.0.0.1", "localhost", "::1"):
        say("there is no login: whoever reaches this address may run and delete everything (docs/deploy.md)")
    address = f"http://{parsed.host}:{parsed.port}"
    _platform("serving").serve(
        parsed.host,
        parsed.port,
        ready=lambda: say(f"{address} shows {project.file}; stop it with Ctrl-C"),
        verbose=parsed.verbose,
    )
    return 0


def _must_be_free(host: str, port: int) -> None:
    import socket

    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise PermanentError(f"{host} is no address to serve at ({error})") from error
            raise PermanentError(
                f"port {port} is taken ({error.strerror}), perhaps by another `tamis ui`; "
                f"stop that, or take another one: tamis ui --port {port + 1}"
            ) from error


if __name__ == "__main__":
    console()
