"""On which target's held-out examples a trial was measured, as the manifest of its value says."""

from tamis.corpus.stage import EXAMPLES_STAGE
from tamis.records.current_values import CurrentValues
from tamis.records.manifest import ManifestFolder
from tamis.training.stage import TRIALS_STAGE


def measured_on(current: CurrentValues, folder: ManifestFolder) -> dict[str, str]:
    """Return the target of each trial that has a value, also of one that nobody asks for now.

    One whose manifest cannot be read has none; the audit names the manifest.
    """
    trials = {one.manifest: trial for (asset, trial), one in current.items() if asset == TRIALS_STAGE.name}
    inputs = {
        trials[key]: [one.partition for one in manifest.inputs if one.asset == EXAMPLES_STAGE.name]
        for key, manifest in folder.readable(trials).items()
    }
    return {trial: targets[0] for trial, targets in inputs.items() if targets}
