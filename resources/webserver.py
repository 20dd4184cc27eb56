"""The webserver of `tamis ui`: where the home notes it, and how it is asked to load the definitions again."""

import contextlib
import json
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException

from tamis.store.home import Home
from tamis.store.served import NOTE, note_served

BEGUN_SECONDS = 2.0
"""How long a refusal may take; a webserver that says nothing in that time is loading them."""
RELOAD = """mutation ($location: String!) {
  reloadRepositoryLocation(repositoryLocationName: $location) {
    ... on Error { message }
  }
}"""


@contextlib.contextmanager
def noted(home: Home, host: str, port: int) -> Iterator[None]:
    """Note in the home where this process serves the UI, as long as it does."""
    note = note_served(home, host, port)
    path = home.dagster / NOTE
    try:
        yield
    finally:
        if path.exists() and path.read_text() == note:  # another one may have begun since
            path.unlink()


def ask_reload(host: str, port: int, location: str) -> str:
    """Ask the webserver to load the definitions of a code location again; returns why it does not, or "".

    Its answer comes when they are loaded, and is not waited for: the process that asks is replaced by then.
    """
    connection = HTTPConnection(host, port, timeout=BEGUN_SECONDS)
    body = json.dumps({"query": RELOAD, "variables": {"location": location}})
    try:
        connection.request("POST", "/graphql", body, {"Content-Type": "application/json"})
        found = json.loads(connection.getresponse().read())
        said = found["data"]["reloadRepositoryLocation"]
        return str(said.get("message", ""))
    except TimeoutError:
        return ""
    except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
        return f"http://{host}:{port} does not answer like Dagster's webserver ({type(error).__name__})"
    finally:
        connection.close()
