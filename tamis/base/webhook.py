"""One JSON document to a webhook: a time limit, few attempts, no redirects, the key from the environment.

The standard library's HTTP client. A receiver that is down costs the sensor at most `timeout_seconds` times
`attempts`, and never a run anything.
"""

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from tamis.base.errors import PermanentError, TransientError


class WebhookUnreachableError(TransientError):
    """The webhook did not take a message; says how often it was tried and what the last failure was.

    Names the host alone: the path of a webhook is often its secret.
    """

    def __init__(self, host: str, attempts: int, reason: str) -> None:
        self.host, self.attempts, self.reason = host, attempts, reason
        super().__init__(
            f"the message to the webhook at {host} was not delivered in {attempts} attempts (last failure: "
            f"{reason}); check webhook in [automation], and that its server is running"
        )


class WebhookKeyMissingError(PermanentError):
    """The environment variable that should hold the webhook's key is not set."""

    def __init__(self, variable: str) -> None:
        self.variable = variable
        super().__init__(
            f"the webhook's key is read from the environment variable {variable}, which is not set where the "
            "sensors run; set the variable there, or change webhook_key_env in [automation]"
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
        """POST a message; raises `WebhookUnreachableError` or `WebhookKeyMissingError`."""
        headers = {"Content-Type": "application/json", "User-Agent": "tamis", **self._authorization()}
        data = json.dumps(body, ensure_ascii=False).encode()
        request = urllib.request.Request(self.url, data, headers, method="POST")
        opener, reason = urllib.request.build_opener(_NoRedirects), ""
        for attempt in range(self.attempts):
            if attempt:
                time.sleep(self.wait_seconds)
            try:
                with opener.open(request, timeout=self.timeout_seconds):
                    return
            except urllib.error.HTTPError as error:
                error.close()
                reason = f"status {error.code}"
            except (OSError, HTTPException) as error:  # refused, cut off, timed out
                reason = f"{type(error).__name__}: {error}"
        raise WebhookUnreachableError(urlsplit(self.url).hostname or "no host", self.attempts, reason)

    def _authorization(self) -> dict[str, str]:
        if self.key_env is None:
            return {}
        if not (key := os.environ.get(self.key_env)):
            raise WebhookKeyMissingError(self.key_env)
        return {"Authorization": f"Bearer {key}"}


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    # urllib would send the key on to whatever host the answer names.
    def redirect_request(self, *arguments: Any, **named: Any) -> None:
        return None
