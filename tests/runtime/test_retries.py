"""What is tried again: what may succeed then, and never what a person has cancelled."""

import contextlib
import errno
import http.client
import socket
import sqlite3
import ssl
import urllib.error

import dagster as dg
import pytest
from dagster._utils.error import serializable_error_info_from_exc_info
from projects import EVERYTHING, plain_project

from tamis.base.errors import PermanentError, TransientError
from tamis.base.kept_errors import kept_message
from tamis.runtime.failures import MOST_RETRIES, retried, take_withheld, tried_once
from tamis.store.unwritable import DiskFullError


class HttpError(Exception):
    """An error of a client that carries the status of an answer."""

    def __init__(self, status):
        self.code = status
        super().__init__(f"status {status}")


def of_package(module, name):
    """An error class of a package, by its names alone: none of them is needed for the decision."""
    return type(name, (Exception,), {"__module__": module})


def caused(error, by):
    """Return an error with its cause."""
    error.__cause__ = by
    return error


PASSING = [
    TransientError("busy"),
    ConnectionError("reset"),
    TimeoutError("too slow"),
    OSError(errno.EIO, "input/output error"),
    OSError(errno.ESTALE, "stale file handle"),
    urllib.error.URLError(ConnectionRefusedError(errno.ECONNREFUSED, "refused")),
    urllib.error.URLError(TimeoutError("timed out")),
    socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
    ssl.SSLEOFError(8, "EOF occurred in violation of protocol"),
    OSError("Generic S3 error: HTTP error: error sending request"),
    OSError("AWS Error NETWORK_CONNECTION during GetObject operation: curlCode: 28, Timeout was reached"),
    caused(OSError("We couldn't load the file"), ConnectionResetError("cut")),
    type("ConnectTimeout", (of_package("requests", "RequestException"), OSError), {})("no answer"),
    http.client.IncompleteRead(b""),
    HttpError(429),
    HttpError(503),
    RuntimeError("lance error: Retryable commit conflict for version 7: another transaction"),
    RuntimeError("lance error: Too many concurrent writers"),
    sqlite3.OperationalError("database is locked"),
    of_package("psycopg2", "OperationalError")("server closed the connection unexpectedly"),
    of_package("httpx", "TransportError")("no route"),
]
LASTING = [
    PermanentError("no such column"),
    MemoryError("cannot allocate"),
    of_package("torch", "OutOfMemoryError")("CUDA out of memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    TypeError("'NoneType' object is not iterable"),
    ValueError("shapes do not fit"),
    KeyError("column"),
    IndexError("out of range"),
    AttributeError("no such attribute"),
    AssertionError("ours"),
    ZeroDivisionError("division by zero"),
    RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    FileNotFoundError(errno.ENOENT, "no such file"),
    PermissionError(errno.EACCES, "denied"),
    OSError(errno.ENAMETOOLONG, "name too long"),
    OSError(),
    OSError("the library gives no number"),
    OSError("no neural network in the file networks.bin"),
    http.client.InvalidURL("nonnumeric port: 'x'"),
    type("TooManyRedirects", (of_package("requests", "RequestException"), OSError), {})("30 redirects"),
    OSError("Can't load tokenizer for 'x': is it a folder with all of its files?"),
    OSError("image file is truncated (3 bytes not processed)"),
    caused(OSError("cannot load the model"), ValueError("not a header of safetensors")),
    urllib.error.URLError("unknown url type: ftpx"),
    urllib.error.URLError(ssl.SSLCertVerificationError(1, "certificate verify failed")),
    urllib.error.URLError(socket.gaierror(socket.EAI_NONAME, "Name or service not known")),
    type("InvalidURL", (of_package("requests", "RequestException"), OSError, ValueError), {})("no host"),
    HttpError(404),
    HttpError(401),
    sqlite3.OperationalError("no such table: runs"),
]


def named(error):
    return f"{type(error).__name__}-{str(error)[:20]}"


@pytest.mark.parametrize("error", PASSING, ids=named)
def test_what_may_pass_is_tried_again_later_each_time(error):
    waits = []
    for attempt in range(2):
        with pytest.raises(dg.RetryRequested) as caught, retried(attempt):
            raise error
        assert caught.value.max_retries == MOST_RETRIES
        assert str(caught.value.__cause__).startswith(type(error).__name__)
        waits.append(caught.value.seconds_to_wait)
    assert waits[1] == 2 * waits[0] > 0


def test_a_full_disk_may_have_room_later(tmp_path):
    with pytest.raises(dg.RetryRequested), retried(0):
        raise DiskFullError(tmp_path, 0)


@pytest.mark.parametrize("error", LASTING, ids=named)
@pytest.mark.parametrize("also", [contextlib.nullcontext, tried_once], ids=["stage", "trial"])
def test_what_fails_in_the_same_way_again_fails_at_once(error, also):
    with pytest.raises(dg.Failure) as caught, retried(0), also():
        raise error
    assert not caught.value.allow_retries
    assert str(caught.value).startswith(type(error).__name__)


def test_out_of_memory_of_torch_is_no_reason_to_try_again():
    import torch

    with pytest.raises(dg.Failure), retried(0):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


@pytest.mark.parametrize("error", PASSING, ids=named)
def test_of_a_trial_too_what_may_pass_is_tried_again(error):
    with pytest.raises(dg.RetryRequested), retried(0), tried_once():
        raise error


def test_what_stays_wrong_is_not_tried_again_and_keeps_its_words():
    with pytest.raises(dg.Failure, match="PermanentError: no such column") as caught, retried(0):
        raise PermanentError("no such column")
    assert not caught.value.allow_retries


@pytest.mark.parametrize("stopped", [KeyboardInterrupt, dg.DagsterExecutionInterruptedError])
def test_what_was_cancelled_stays_cancelled(stopped):
    with pytest.raises(stopped), retried(0):
        raise stopped


def test_nothing_in_the_graph_has_a_policy_that_starts_a_cancelled_step_again(tmp_path):
    assets = plain_project(tmp_path, EVERYTHING).definitions().resolve_asset_graph().assets_defs
    policies = [one.op.retry_policy for one in assets if one.is_executable]
    assert len(policies) > 20
    assert set(policies) == {None}


QUOTED = "a line of a document"


def quoting() -> Exception:
    """An error of another library, with a note and a cause that quote a document."""
    error = ValueError(f"cannot convert {QUOTED!r}")
    error.__cause__ = KeyError(QUOTED)
    error.add_note(f"at {QUOTED!r}")
    return error


def of_tamis() -> Exception:
    """An error of Tamis with such a note and cause."""
    error = PermanentError("no such column")
    error.__cause__ = quoting()
    error.add_note(QUOTED)
    return error


@pytest.mark.parametrize("ends", [lambda: retried(0), tried_once], ids=["retried", "tried_once"])
@pytest.mark.parametrize(
    ("error", "kept"), [(quoting, "ValueError"), (of_tamis, "PermanentError: no such column")]
)
def test_what_dagster_stores_of_an_error_quotes_no_document(ends, error, kept):
    with pytest.raises((dg.Failure, dg.RetryRequested)) as caught, ends():
        raise error()
    stored = serializable_error_info_from_exc_info((caught.type, caught.value, caught.tb)).to_string()
    assert QUOTED not in stored
    assert kept in stored
    assert __file__ in stored, "the traceback leads to where it was raised"
    whole = "\n".join(take_withheld().values())
    assert (QUOTED in whole) == (error is quoting), "what is not stored is shown on the terminal"
    assert take_withheld() == {}


def test_what_the_system_says_of_a_file_is_kept():
    error = FileNotFoundError(errno.ENOENT, f"of {QUOTED}", "/data/a.jsonl")
    assert kept_message(error) == "FileNotFoundError: [Errno 2] No such file or directory: '/data/a.jsonl'"
    assert QUOTED not in kept_message(OSError(f"LanceError: {QUOTED}"))


def test_that_memory_ran_out_is_kept():
    error = RuntimeError(f"CUDA out of memory at {QUOTED}")
    assert kept_message(error) == "RuntimeError: out of memory"
