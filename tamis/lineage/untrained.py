"""Trainings that never came to a checkpoint: what they noted in `trained_on` before they began.

Which documents a checkpoint saw is evidence and stays. Of a training that failed or was cut short, and whose
partition is gone, there is nothing that had seen them.
"""

from collections.abc import Iterable

from tamis.lineage.attempts import chunks
from tamis.lineage.heads import Heads
from tamis.lineage.manifest import ManifestError, ManifestFolder
from tamis.lineage.stages import names_where
from tamis.store.home import Home
from tamis.store.tables import one_of
from tamis.training.stage import TRAINED_ON

TABLE = TRAINED_ON.name


def forget_untrained(home: Home, heads: Heads, gone: Iterable[tuple[str, str]]) -> None:
    """Delete what those of the (asset, partition) noted that have neither head, checkpoint nor manifest."""
    trained = training_stages()
    begun = [
        (asset, partition)
        for asset, partition in gone
        if asset in trained
        and (asset, partition) not in heads
        and not _has_checkpoint(home, asset, partition)
    ]
    if not begun or not home.store.exists(TABLE):
        return
    try:
        recorded = _recorded(home)
    except ManifestError:
        return  # for the audit to tell; what cannot be read may be the record of one of these
    names = [partition for asset, partition in begun if (asset, partition) not in recorded]
    for chunk in chunks(names):
        home.store.delete(TABLE, one_of("checkpoint", chunk))


def training_stages() -> tuple[str, ...]:
    """Return the stages that note what their checkpoints are trained on."""
    return names_where(lambda stage: TRAINED_ON in stage.tables)


def _has_checkpoint(home: Home, asset: str, partition: str) -> bool:
    folder = home.checkpoints / asset / partition
    return folder.is_dir() and any(folder.iterdir())


def _recorded(home: Home) -> set[tuple[str, str]]:
    """(asset, partition) of every checkpoint that a manifest states."""
    folder, found, trained = ManifestFolder.of(home), set(), training_stages()
    for name in folder.ids():
        manifest = folder.read(name)
        if manifest.asset in trained:
            found.add((manifest.asset, manifest.partition))
    return found
