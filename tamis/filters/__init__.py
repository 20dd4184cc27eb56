"""Document filters: rules of form, language, personal data, licences and sources, each with a name.

Pure: texts and stored rows in, rules broken out; what a broken rule means is decided in tamis/selection.
"""

from tamis.filters.flags import COUNTS, FAMILIES, MEASURES, Plan, measured
from tamis.filters.licences import forbidden_by_licence
from tamis.filters.sources import forbidden_by_source, source_rule

CODE_VERSION = "4"  # 4: repetition and items are found in scripts without spaces, too

__all__ = [
    "CODE_VERSION",
    "COUNTS",
    "FAMILIES",
    "MEASURES",
    "Plan",
    "forbidden_by_licence",
    "forbidden_by_source",
    "measured",
    "source_rule",
]
