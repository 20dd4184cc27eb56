"""What a tamis.toml does that somebody on this machine has to accept.

It runs commands or Python that came with it, sends secrets elsewhere, or lets a cluster of others answer,
whose answers are unpickled.

A project that was cloned from a stranger would otherwise choose which of the user's variables goes to which
server. Addresses of this machine are not asked about.
"""

import contextlib
import ipaddress
import os
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tamis.base.trust import Consent, require_accepted
from tamis.plugins.commands import run_consent
from tamis.plugins.reading import Origin, Plugin
from tamis.plugins.running import opened
from tamis.project import Project

OF_SERVERS = tuple(f"MLFLOW_TRACKING_{name}" for name in ("TOKEN", "USERNAME", "PASSWORD", "AUTH"))
OF_DATABASES = {"postgresql": ("PGPASSWORD",), "mysql": ("MYSQL_PWD",)}
"""Variables with which MLflow, or the client of a database, signs in to whatever server it is told to use."""
CREDENTIALS = Path("~/.mlflow/credentials")
"""A file whose password MLflow sends to any server where the variables are not set."""
_HOSTS = ("host", "hostaddr", "service", "unix_socket", "read_default_file")
"""Parameters by which the address of a database names another server than the one in its usual place."""
_PLAIN = re.compile(
    r"[a-z]\w*(\+\w+)?://([^\s@/\\?#:]*@)?(\[[0-9a-f:.]+\]|[a-z0-9.-]*)(:\d+)?(?=[/?#]|$)", re.IGNORECASE
)
"""The beginning of an address of which all libraries read the same host. Others connect to a.example where
the standard library reads localhost: `http://a.example\\@localhost`, `postgresql://localhost?@a.example`."""
CURE = "change this in tamis.toml"
PLUGIN_CURE = "take it out of plugins in [project]"


def asked_by(project: Project) -> list[Consent]:
    """Return what tamis.toml wants accepted: each command and each address in full."""
    settings = project.settings
    commands = {
        "[trainer]": settings.trainer.command if settings.trainer else (),
        "[evaluation]": settings.evaluation.command or (),
    }
    return [
        *(
            run_consent(key, project.file, command, project.root)
            for key, command in commands.items()
            if command
        ),
        *(Consent.of(project.file, effect) for effect in _effects(project)),
    ]


def require_trusted(project: Project) -> None:
    """Raise `UntrustedError` unless somebody on this machine has accepted what tamis.toml does."""
    require_accepted(asked_by(project), CURE)


def plugins_asked(project: Project, used: Collection[Plugin] | None = None) -> list[Consent]:
    """Return what running plug-ins of the project's files wants accepted, each with the digest of its code.

    `used`: only these plug-ins; installed ones are not asked about.
    """
    origins = {
        one.origin.file: one.origin for one in (project.settings.plugins.known if used is None else used)
    }
    return [
        Consent.of(
            origin.file,
            f"is Python that runs on this machine as you{_with(origin)}, since tamis.toml names it",
            origin.digest.encode(),
        )
        for origin in origins.values()
        if not origin.module
    ]


def _with(origin: Origin) -> str:
    return f", with {', '.join(sorted(origin.modules))}" if origin.modules else ""


def require_plugins_trusted(project: Project, used: Collection[Plugin]) -> None:
    """Raise `UntrustedError` unless somebody on this machine has accepted the code of these plug-ins."""
    require_accepted(plugins_asked(project, used), PLUGIN_CURE)


@contextlib.contextmanager
def trusted(project: Project, plugin: Plugin) -> Iterator[Callable[..., Any]]:
    """Import a plug-in that somebody on this machine has accepted, and give its function.

    Raises `UntrustedError`, and what `tamis.plugins.running.opened` raises.
    """
    require_plugins_trusted(project, [plugin])
    with opened(plugin) as function:
        yield function


def _effects(project: Project) -> Iterator[str]:
    settings = project.settings
    judge, automation, address = settings.judge, settings.automation, settings.engine.address
    for url, variable in ((judge.url, judge.key_env), (automation.webhook, automation.webhook_key_env)):
        host = urlsplit(url).hostname if url and variable else None
        if host and not is_here(host):
            yield f"sends the value of the variable {variable} to {host}"
    tracker = "" if os.environ.get("TAMIS_MLFLOW_URL") else settings.tracking.uri or ""
    for secret in _secrets_for(tracker):
        yield from (f"sends {secret} to {host}" for host in _servers(tracker))
    if address not in (None, "auto") and not is_here(str(address).rpartition(":")[0]):
        yield f"lets the Ray cluster at {address} run code on this machine"


def _secrets_for(uri: str) -> Iterator[str]:
    """Yield what this user has to sign in with to trackers of this kind."""
    kind = re.split("[+:]", uri, maxsplit=1)[0]
    for variable in OF_SERVERS if _is_server(uri) else OF_DATABASES.get(kind, ()):
        if os.environ.get(variable):
            yield f"the value of the variable {variable}"
    with contextlib.suppress(RuntimeError):  # without a home folder
        if _is_server(uri) and CREDENTIALS.expanduser().is_file():
            yield f"the password in {CREDENTIALS}"


def _is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def _servers(uri: str) -> list[str]:
    """Return the hosts that a tracker's address names, but for this machine; an unclear address as it is."""
    found, is_server = _PLAIN.match(uri), _is_server(uri)
    if found is None or ("@" in uri[found.end() :] and not is_server):
        return [uri]
    parts = urlsplit(uri)
    given = {} if is_server else parse_qs(parts.query)
    named = [host for name in _HOSTS for value in given.get(name, ()) for host in value.split(",")]
    hosts = dict.fromkeys([parts.hostname or "", *named])
    return [host for host in hosts if host and not host.startswith("/") and not is_here(host)]


def is_here(host: str) -> bool:
    """Return whether a host's name or address is that of this machine, without asking a name server."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
