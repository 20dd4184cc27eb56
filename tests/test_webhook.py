"""Messages to a real server: delivered once, tried again on faults, given up in bounded time."""

import os
import socket
import time
import traceback

import pytest

from tamis.base.errors import PermanentError
from tamis.base.posting import (
    UnusableKeyError,
    Webhook,
    WebhookAddressError,
    WebhookKeyMissingError,
    WebhookUnreachableError,
)


def test_a_message_arrives_with_the_key_of_the_environment(receive, monkeypatch):
    monkeypatch.setenv("HOOK_KEY", "s3cret")
    server = receive()
    server.hook(key_env="HOOK_KEY").send({"event": "selection_changed", "selection": "é"})
    (seen,) = server.stop()
    assert seen["body"] == {"event": "selection_changed", "selection": "é"}
    assert seen["key"] == "Bearer s3cret"


@pytest.mark.parametrize("fault", ["500", "hang", "cut"])
def test_one_fault_is_tried_again_and_two_are_given_up_soon(receive, fault):
    server = receive(fault)
    server.hook().send({"n": 1})
    assert [seen["body"] for seen in server.stop()] == [{"n": 1}] * 2
    server = receive(fault, fault)
    began = time.monotonic()
    with pytest.raises(WebhookUnreachableError, match="not delivered in 2 attempts") as raised:
        server.hook().send({"n": 1})
    assert time.monotonic() - began < 5
    assert "secret-path" not in str(raised.value)
    assert len(server.stop()) == 2


def test_nobody_there_is_said_so():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with pytest.raises(WebhookUnreachableError, match="refused"):
        Webhook(url=f"http://127.0.0.1:{port}", wait_seconds=0.01).send({})


def test_the_key_does_not_follow_a_redirect(receive, monkeypatch):
    monkeypatch.setenv("HOOK_KEY", "s3cret")
    server = receive("redirect", "redirect")
    with pytest.raises(WebhookUnreachableError, match="302"):
        server.hook(key_env="HOOK_KEY").send({})
    assert {seen["path"] for seen in server.stop()} == {"/secret-path"}


def test_a_key_that_is_not_set_is_named_and_nothing_is_sent(receive):
    assert "NO_SUCH_KEY" not in os.environ
    server = receive()
    with pytest.raises(WebhookKeyMissingError, match="NO_SUCH_KEY"):
        server.hook(key_env="NO_SUCH_KEY").send({})
    assert server.stop() == []


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/T000/s3cret path",
        "http://127.0.0.1:9/T000/s3cret\npath",
        "http://127.0.0.1:9/T000/s3crét",
        "http://user:s3cret@127.0.0.1:9/hook",
        "http://127.0.0.1:s3cret/hook",
        "http://[::1/s3cret",
        "s3cret",
        f"http://{'a' * 70}.example/s3cret",
    ],
)
def test_an_address_that_is_none_is_said_so_without_a_word_of_it(url):
    with pytest.raises(WebhookAddressError) as raised:
        Webhook(url=url, wait_seconds=60).send({})
    told = "".join(traceback.format_exception(raised.value))
    assert "s3cret" not in "\n".join(line for line in told.splitlines() if not line.startswith("    "))
    assert isinstance(raised.value, PermanentError), "not tried again"


@pytest.mark.parametrize("key", ["s3 cret", "s3cret\r\nX-Other: 1", "s3cret\x00", "s3cr\u00e9t"])
def test_a_key_that_no_header_may_hold_is_said_so_without_a_word_of_it(receive, monkeypatch, key):
    monkeypatch.setattr(os, "environ", {"HOOK_KEY": key})
    server = receive()
    with pytest.raises(UnusableKeyError, match="HOOK_KEY") as raised:
        server.hook(key_env="HOOK_KEY").send({})
    assert "s3" not in str(raised.value)
    assert server.stop() == []


def test_a_key_from_a_file_of_secrets_is_sent_without_the_end_of_its_line(receive, monkeypatch):
    monkeypatch.setenv("HOOK_KEY", "s3cret\r\n")
    server = receive()
    server.hook(key_env="HOOK_KEY").send({})
    assert [seen["key"] for seen in server.stop()] == ["Bearer s3cret"]


def test_a_key_in_the_place_of_the_name_of_its_variable_is_not_shown():
    with pytest.raises(WebhookKeyMissingError) as raised:
        Webhook(url="http://127.0.0.1:9", key_env="sk-s3cret").send({})
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(("fault", "requests"), [("404", 1), ("401", 1), ("429", 2), ("503", 2)])
def test_only_an_answer_that_may_change_is_asked_for_again(receive, fault, requests):
    server = receive(fault, fault)
    with pytest.raises(WebhookUnreachableError, match=f"in {requests} attempt.*status {fault}"):
        server.hook().send({})
    assert len(server.stop()) == requests
