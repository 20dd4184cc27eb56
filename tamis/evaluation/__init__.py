"""Measures of trained models besides the target's loss: losses on controls, scores of a user's command."""

CODE_VERSION = "1"
"""Raised by hand when the same models and controls give other losses."""
EVALUATION_CODE_VERSION = "1"
"""Raised by hand when what the same command writes gives other scores."""
REPORT_CODE_VERSION = "1"
"""Raised by hand when the same figures give another page."""
