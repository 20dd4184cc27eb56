"""Threads sleep soon in every process of the platform, unless the user has said otherwise."""

import os

from tamis.base.threads import SPINS, spin_briefly


def test_what_the_user_has_set_stands(monkeypatch):
    for given, expected in (
        ({}, SPINS),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, None),
    ):
        for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
            monkeypatch.delenv(name, raising=False)
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        spin_briefly()
        assert os.environ.get("GOMP_SPINCOUNT") == expected
