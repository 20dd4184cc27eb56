"""What other tools read: lineage as OpenLineage and PROV, subsets as Croissant, and a data card for people.

Nothing here asks a clock or draws a number: the same manifests and rows give the same bytes. No file but the
subset itself holds text of a document.
"""

from tamis.interchange.lineage import lineage_behind, openlineage_lines
from tamis.interchange.prov import prov_json
from tamis.interchange.subset import Description, SubsetFiles, describe_subset, write_descriptions

__all__ = [
    "Description",
    "SubsetFiles",
    "describe_subset",
    "lineage_behind",
    "openlineage_lines",
    "prov_json",
    "write_descriptions",
]
