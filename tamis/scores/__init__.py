"""Scores of the user's own: a column of the rows of corpora, or a plug-in, as a number for each document."""

CODE_VERSION = "1"
"""Raised by hand when the same rows give other scores."""
PLUGIN_CODE_VERSION = "1"
"""Raised by hand when the same answers of a plug-in give other scores."""
