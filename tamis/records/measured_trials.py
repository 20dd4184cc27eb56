"""On which target's held-out examples a trial was measured, as the manifest of its value says."""

from tamis.corpus.stage import EXAMPLES_STAGE
from tamis.records.current_values import CurrentValues
from tamis.records.manifest import ManifestFolder
from tamis.training.stage import TRIALS_STAGE


def measured_on(current: CurrentValues, folder: ManifestFolder) -> dict[str, str]:
    """Return the target of each trial that has a value, also of one that nobody asks for now."""
    made = {
        trial: folder.read(one.manifest)
        for (asset, trial), one in current.items()
        if asset == TRIALS_STAGE.name
    }
    examples = EXAMPLES_STAGE.name
    inputs = {
        trial: [one.partition for one in value.inputs if one.asset == examples]
        for trial, value in made.items()
    }
    return {trial: targets[0] for trial, targets in inputs.items() if targets}
