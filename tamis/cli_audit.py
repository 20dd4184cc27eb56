"""The verb `audit`: whether what was made can be traced, and is what it was."""

import argparse
from pathlib import Path
from typing import Any

from tamis.base.progress import say
from tamis.cli_parts import add_verb, platform_module, print_json, with_json


def add_audit(verbs: Any) -> None:
    """`tamis audit [CHECKPOINT|SELECTION]`."""
    audit = with_json(add_verb(verbs, "audit", _audit, "verify a checkpoint or selection down to raw bytes"))
    audit.add_argument("name", nargs="?", metavar="CHECKPOINT|SELECTION")
    audit.add_argument("--quick", action="store_true", help="do not hash the stored content again")
    audit.add_argument(
        "--html", metavar="FILE", help="also write the audit as one page, with the graph drawn"
    )
    audit.add_argument("--anchor", metavar="FILE", help="write the names of all manifests, to keep elsewhere")
    audit.add_argument(
        "--against", metavar="FILE", help="also check that what an anchor names is still there"
    )
    audit.add_argument("--openlineage", metavar="FILE", help="write the lineage as OpenLineage events")
    audit.add_argument("--prov", metavar="FILE", help="write the lineage as W3C PROV-JSON")


def _audit(parsed: argparse.Namespace) -> int:
    from tamis.audit.anchor import judge_anchor, write_anchor
    from tamis.audit.verdicts import audit_lines
    from tamis.project import read_project
    from tamis.records.current_values import read_current_values
    from tamis.report.audit import page_of

    project = read_project()
    audit = platform_module("auditing").audit_project(project, parsed.name, parsed.quick, say)
    if parsed.against:
        audit, there, named = judge_anchor(audit, project.home.manifests, Path(parsed.against))
        say(f"anchor {parsed.against}: {there:,} of the {named:,} manifests that it names are unaltered")
    if parsed.html:
        Path(parsed.html).write_text(page_of(audit), encoding="utf-8")
    if parsed.anchor:
        root = write_anchor(Path(parsed.anchor), read_current_values(project.home.store))
        say(f"anchor {parsed.anchor}: root {root}")
    asked = parsed.openlineage or parsed.prov
    if asked and audit.status == "red":
        say("the lineage was not written: it is red, so it does not hold")
    elif asked:
        _write_lineage(project, parsed.name, parsed.openlineage, parsed.prov)
    # Last: whoever reads only the first lines closes the pipe, and the files are written all the same.
    print_json(audit.to_json()) if parsed.json else print("\n".join(audit_lines(audit)))
    return int(audit.status == "red")


def _write_lineage(project: Any, name: str | None, openlineage: str | None, prov: str | None) -> None:
    """Write what leads to a checkpoint or selection, or to everything, in the forms that were asked for."""
    from tamis.base.files import write_atomically
    from tamis.interchange import lineage_behind, openlineage_lines, prov_json

    lineage = lineage_behind(project, name)
    for file, write in ((openlineage, openlineage_lines), (prov, prov_json)):
        if file:
            write_atomically(Path(file), write(lineage).encode())
            say(f"{file}: {len(lineage.manifests):,} manifests")
