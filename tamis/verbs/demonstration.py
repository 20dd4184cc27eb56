"""The project of the demonstration: the checkout's own, or one that is written from the installed package."""

import contextlib
from pathlib import Path

from tamis.base.errors import MissingPackageError, TamisError
from tamis.base.files import write_atomically
from tamis.base.installation import PLATFORM
from tamis.base.user_folders import require_plain
from tamis.settings.config import PROJECT_FILE, load_settings, project_file
from tamis.training.gguf_model import INSTALL, embedded_model_file
from tamis.training.models import SMOLLM2

FOLDER = "tamis-demo"
TEMPLATE = PLATFORM / PROJECT_FILE
ASKING = (f'"{SMOLLM2}"', "[judge]", '"ask-llm"', '"got-d-quality"')
"""Marks of the sections of the demonstration that need the weights of the judge."""


def demonstration(folder: str | None) -> tuple[Path, list[str]]:
    """Return the project file of the demonstration, and lines about what was written.

    Without a `folder`, the demonstration at or above the working directory, as in a checkout, else the folder
    tamis-demo. A project file that is there is left as it is. Raises `PermanentError` for a folder that no
    project can be in, `OSError` where nothing can be written.
    """
    if folder is None:
        with contextlib.suppress(TamisError):
            file = project_file()
            if load_settings(file).project.name == load_settings(TEMPLATE).project.name:
                return file, []
    file = Path(folder or FOLDER).resolve() / PROJECT_FILE
    if file.exists():
        return file, []
    require_plain(file, "choose another folder for the demonstration")
    text, lines = TEMPLATE.read_text("utf-8"), [f"wrote the project of the demonstration into {file.parent}"]
    try:
        embedded_model_file()
    except MissingPackageError:
        text = without_judge(text)
        lines.append(
            f"what needs the weights of the judge is left out; `{INSTALL}` installs them: then remove the "
            f"number signs of those sections in {file}"
        )
    (file.parent / "landing").mkdir(parents=True, exist_ok=True)
    write_atomically(file, text.encode("utf-8"))
    return file, lines


def without_judge(text: str) -> str:
    """Comment out the sections that need the weights of the judge; what is left is a whole project."""
    sections = [
        "\n".join(line if line.startswith("#") else f"# {line}" for line in section.splitlines())
        if any(mark in section for mark in ASKING)
        else section
        for section in text.strip("\n").split("\n\n")
    ]
    return "\n\n".join(sections) + "\n"
