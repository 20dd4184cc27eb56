"""What POSTs to a webhook and to a judge's server share: a key from the environment, and no redirects.

Addresses and keys are secrets, and errors of the standard library quote them: `InvalidURL` the path, a
`ValueError` the header with the key. So whoever sends raises errors of its own in their place, `from None`.
"""

import os
import re
import urllib.request
from http.client import InvalidURL
from typing import Any

from tamis.base.errors import PermanentError

PASSING_STATUSES = frozenset({408, 425, 429})
INVALID = (InvalidURL, UnicodeError)
"""Errors of a request whose address is no address: with a blank, or a port that is no number."""
_NO_KEY = re.compile(r"[^\x21-\x7e]")


class UnusableKeyError(PermanentError):
    """The key in an environment variable cannot be sent: no header may hold it."""

    def __init__(self, variable: str) -> None:
        self.variable = shown_variable(variable)
        super().__init__(
            f"the key in the environment variable {self.variable} contains a blank, a line break or a letter "
            "that no key has; set the variable to the key alone"
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
