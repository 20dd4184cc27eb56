"""Records of exports: manifests that say which version of a selection was written to which file, and when.

A folder next to the manifests names those of each selection, so that finding them reads no other manifest.
An export needs no lock: its files are content-addressed, and no table is written.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from tamis.base.files import write_atomically
from tamis.records.manifest import InputReference, Manifest, ManifestFolder
from tamis.records.published import DECISIONS, SUBSET, Published
from tamis.store.digests import canonical_digest
from tamis.store.home import Home

ASSET = "exports"
CODE_VERSION = "1"
FOLDER = "exports"


@dataclass(frozen=True, kw_only=True)
class ExportRecord:
    """One export of a selection.

    `manifest`: id of the export's manifest. `choice`: data version of the chosen documents. `file`: name of
    the file or folder. `sha256`: digest of the file with the rows.
    """

    manifest: str
    selection: str
    version: int
    choice: str
    file: str
    sha256: str
    exported_at: str


def note_export(
    home: Home, published: Published, version: int, file: str, sha256: str, documents: int, form: str
) -> str:
    """Write the record of an export and return the id of its manifest.

    `file`: name of the exported file or folder. `sha256`: digest of the file with the rows. `documents`:
    number of its rows. Raises `ManifestError` where the manifests of the selection cannot be read.
    """
    folder = ManifestFolder.of(home)
    inputs = tuple(
        InputReference(
            asset=asset,
            partition=published.selection,
            data_version=folder.read(manifest).data_version,
            manifest=manifest,
        )
        for asset, manifest in ((SUBSET, published.subset), (DECISIONS, published.decisions))
    )
    now = datetime.now(UTC)
    config = {
        "version": version,
        "choice": inputs[0].data_version,
        "file": file,
        "form": form,
        "exported_at": now.isoformat(timespec="microseconds"),
    }
    manifest = folder.write(
        Manifest(
            asset=ASSET,
            partition=published.selection,
            code_version=CODE_VERSION,
            config=config,
            seed=0,
            input_key=canonical_digest(f"{published.subset},{published.decisions}"),
            data_version=sha256,
            digest=sha256,
            row_count=documents,
            inputs=inputs,
            beside={"made_at": now.isoformat(timespec="seconds")},
        )
    )
    name = home.manifests / FOLDER / published.selection / manifest
    write_atomically(name, f"{manifest}\n".encode())
    home.publish([*folder.take_unpublished(), name])
    return manifest


def read_exports(home: Home, selection: str) -> list[ExportRecord]:
    """Return the exports of a selection whose records can be read, oldest first."""
    names = home.files.names(home.manifests / FOLDER / selection)
    manifests = ManifestFolder.of(home).readable(name.rpartition("/")[2] for name in names)
    records = [
        ExportRecord(
            manifest=key,
            selection=selection,
            version=manifest.config["version"],
            choice=manifest.config["choice"],
            file=manifest.config["file"],
            sha256=manifest.data_version,
            exported_at=manifest.config["exported_at"],
        )
        for key, manifest in manifests.items()
        if manifest.asset == ASSET and manifest.partition == selection
    ]
    return sorted(records, key=lambda record: (record.exported_at, record.manifest))
