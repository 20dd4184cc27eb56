"""Tokens: how many each document has, by the tokenizer of the project; budgets in tokens go by it."""

CODE_VERSION = "1"
"""Raised by hand when counts change."""
