"""Document filters: rules of form, language, personal data, licences and sources, each with a name.

Pure: texts and stored rows in, rules broken out; what a broken rule means is decided in tamis/selection.
"""

from tamis.filters.flags import COUNTS, FAMILIES, FORM, MEASURES, Plan, measured
from tamis.filters.licences import forbidden_by_licence
from tamis.filters.sources import forbidden_by_source, source_rule

CODE_VERSION = "4"  # 4: repetition and items are found in scripts without spaces, too
FORM_CODE_VERSION = "4"  # 4: a stray NUL does not count
"""Of the family `form`, whose measures are stored by themselves."""

__all__ = [
    "CODE_VERSION",
    "COUNTS",
    "FAMILIES",
    "FORM",
    "FORM_CODE_VERSION",
    "MEASURES",
    "Plan",
    "forbidden_by_licence",
    "forbidden_by_source",
    "measured",
    "source_rule",
]
