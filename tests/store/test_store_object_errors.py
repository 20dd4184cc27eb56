"""Addresses in messages: where, and nothing that lets anybody in."""

import pytest

from tamis.base.errors import without_secrets

SECRET = "hidden-4711"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"https://me:{SECRET}@host:8443/path?key={SECRET}", "https://host:8443/path"),
        (f"postgresql://me:p@{SECRET}@host/db", "postgresql://host/db"),
        (f"HTTP://{SECRET}@host", "HTTP://host"),
        (
            f"GET http://host/b?X-Signature={SECRET} (http://me:{SECRET}@host) failed",
            "GET http://host/b (http://host) failed",
        ),
        ("s3://bucket/prefix", "s3://bucket/prefix"),
        ("me@host asked: why?", "me@host asked: why?"),
        ("https://host?to=me@host", "https://host"),
        ("https://host, me@host", "https://host, me@host"),
    ],
)
def test_addresses_are_shown_without_user_password_and_query(text, shown):
    assert without_secrets(text) == shown
