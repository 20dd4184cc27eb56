"""What a tamis.toml does that somebody on this machine has to accept.

It sends secrets elsewhere, or lets a cluster of others answer, whose answers are unpickled.

A project that was cloned from a stranger would otherwise choose which of the user's variables goes to which
server. Addresses of this machine are not asked about.
"""

import ipaddress
import os
from collections.abc import Iterator
from urllib.parse import urlsplit

from tamis.base.trust import Consent, require_accepted
from tamis.project import Project

OF_TRACKING = ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "PGPASSWORD")
"""Variables that MLflow and libpq send to whatever server they are told to use."""
CURE = "change this in tamis.toml"


def asked_by(project: Project) -> list[Consent]:
    """Return what tamis.toml wants accepted, each with the address in full."""
    return [Consent.of(project.file, effect) for effect in _effects(project)]


def require_trusted(project: Project) -> None:
    """Raise `UntrustedError` unless somebody on this machine has accepted what tamis.toml does."""
    require_accepted(asked_by(project), CURE)


def _effects(project: Project) -> Iterator[str]:
    settings = project.settings
    judge, automation, address = settings.judge, settings.automation, settings.engine.address
    sent = [(judge.url, judge.key_env), (automation.webhook, automation.webhook_key_env)]
    tracker = settings.tracking.uri if not os.environ.get("TAMIS_MLFLOW_URL") else None
    sent += [(tracker, variable) for variable in OF_TRACKING if os.environ.get(variable)]
    for url, variable in sent:
        host = urlsplit(url).hostname if url and variable else None
        if host and not is_here(host):
            yield f"sends the value of the variable {variable} to {host}"
    if address not in (None, "auto") and not is_here(str(address).rpartition(":")[0]):
        yield f"lets the Ray cluster at {address} run code on this machine"


def is_here(host: str) -> bool:
    """Return whether a host's name or address is that of this machine, without asking a name server."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
