"""Silence for other libraries: their progress bars and load reports would hide ours."""

import logging as python_logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence bars and reports of transformers and sentence-transformers; the state before comes back."""
    from transformers.utils import logging

    sentences = python_logging.getLogger("sentence_transformers")
    level = sentences.level

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    sentences.setLevel(python_logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        sentences.setLevel(level)
        if bars:
            logging.enable_progress_bar()
