"""Long documents as passages: how texts are cut, and how tables name the passages of a document."""

SPLIT_CODE_VERSION = "1"
"""Raised by hand when texts are cut elsewhere."""
