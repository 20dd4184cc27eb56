"""Messages to a real server: delivered once, tried again on faults, given up in bounded time."""

import os
import socket
import time

import pytest

from tamis.base.webhook import Webhook, WebhookKeyMissingError, WebhookUnreachableError


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
