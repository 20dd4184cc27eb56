"""What POSTs to a webhook and to a judge's server share: a key from the environment, and no redirects.

Addresses and keys are secrets, and errors of the standard library quote them: `InvalidURL` the path, a
`ValueError` the header with the key. So whoever sends raises errors of its own in their place, `from None`.
"""

import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException, InvalidURL
from typing import Any
from urllib.parse import urlsplit

from tamis.base.errors import PermanentError, TransientError
from tamis.base.numbers import counted

PASSING_STATUSES = frozenset({408, 425, 429})
INVALID = (InvalidURL, UnicodeError)
"""Errors of a request whose address is no address: with a blank, or a port that is no number."""
_NO_KEY = re.compile(r"[^\x21-\x7e]")


class UnusableKeyError(PermanentError):
    """The key in an environment variable cannot be sent: no header may hold it."""

    def __init__(self, variable: str) -> None:
        super().__init__(
            f"the key in the environment variable {shown_variable(variable)} contains a blank, a line "
            "break or a letter that no key has; set the variable to the key alone"
        )


def shown_variable(name: str) -> str:
    """Return the name of a variable for a message: what cannot be such a name may be the key itself."""
    return name if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) else "(not shown: this is not a valid name)"


def key_in(variable: str) -> str:
    """Return the key that an environment variable holds, "" where it is not set; raises `UnusableKeyError`.

    The line break that files of secrets end in is no part of it.
    """
    key = os.environ.get(variable, "").strip()
    if _NO_KEY.search(key):
        raise UnusableKeyError(variable)
    return key


def names_user(url: str) -> bool:
    """Return whether an address names a user or password, which urllib would take for a part of the host."""
    return "@" in url.partition("://")[2].partition("/")[0]


def may_pass(status: int) -> bool:
    """Return whether a server that answers so may take the same request later."""
    return status in PASSING_STATUSES or status >= 500


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """Answers that name another address are errors: urllib would send it the key, whoever it is."""

    def redirect_request(self, *arguments: Any, **named: Any) -> None:
        """Follow no redirect."""


class WebhookUnreachableError(TransientError):
    """The webhook did not take a message; says how often it was tried and what the last failure was.

    Names the host alone: the path of a webhook is often its secret.
    """

    def __init__(self, host: str, attempts: int, reason: str) -> None:
        super().__init__(
            f"the message to the webhook at {host} was not delivered in {counted(attempts, 'attempt')} (last "
            f"failure: {reason}); check webhook in [automation], and that its server is running"
        )


class WebhookAddressError(PermanentError):
    """The address of the webhook is none, so nothing was sent; quotes nothing of it."""

    def __init__(self) -> None:
        super().__init__(
            "the address of the webhook is not valid: it names a user, contains a blank or another character "
            "that has to be percent-encoded, or a port that is not a number; correct webhook in [automation]"
        )


class WebhookKeyMissingError(PermanentError):
    """The environment variable that should hold the webhook's key is not set."""

    def __init__(self, variable: str) -> None:
        super().__init__(
            f"the webhook's key is read from the environment variable {shown_variable(variable)}, which is "
            "not set where the sensors run; set the variable there, or change webhook_key_env in [automation]"
        )


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """Where messages go; `key_env` names the environment variable with the bearer token, None for none."""

    url: str
    key_env: str | None = None
    timeout_seconds: float = 5.0
    attempts: int = 2
    wait_seconds: float = 0.5

    def send(self, body: Mapping[str, Any]) -> None:
        """POST a message; an answer that stays the same, such as 404, is not asked for again.

        Raises `WebhookUnreachableError`, `WebhookAddressError`, `WebhookKeyMissingError`, `UnusableKeyError`.
        """
        if names_user(self.url):
            raise WebhookAddressError
        headers = {"Content-Type": "application/json", "User-Agent": "tamis", **self._authorization()}
        data = json.dumps(body, ensure_ascii=False).encode()
        opener, reason, tried = urllib.request.build_opener(NoRedirects), "", 0
        for tried in range(1, self.attempts + 1):
            if tried > 1:
                time.sleep(self.wait_seconds)
            try:
                request = urllib.request.Request(self.url, data, headers, method="POST")
                with opener.open(request, timeout=self.timeout_seconds):
                    return
            except urllib.error.HTTPError as error:
                error.close()
                reason = f"status {error.code}"
                if not may_pass(error.code):
                    break
            except (*INVALID, ValueError):
                raise WebhookAddressError from None
            except OSError as error:  # refused, cut off, timed out
                reason = f"{type(error).__name__}: {error}"
            except HTTPException as error:  # it may quote an answer, which may repeat the request
                reason = type(error).__name__
        raise WebhookUnreachableError(urlsplit(self.url).hostname or "no host", tried, reason) from None

    def _authorization(self) -> dict[str, str]:
        if self.key_env is None:
            return {}
        if not (key := key_in(self.key_env)):
            raise WebhookKeyMissingError(self.key_env)
        return {"Authorization": f"Bearer {key}"}
