"""Why a step has nothing that it could make."""

from collections.abc import Sequence

from tamis.errors import PermanentError


class InputMissingError(PermanentError):
    """An input of a partition has not been made, or its blocking check failed."""

    def __init__(self, asset: str, missing: Sequence[str]) -> None:
        self.asset, self.missing = asset, list(missing)
        shown = ", ".join(self.missing[:5]) + (", …" if len(self.missing) > 5 else "")
        super().__init__(f"{asset} needs {shown} first; materialize it, or run `tamis materialize`")


class InactiveStageError(PermanentError):
    """The project does not use this asset."""

    def __init__(self, asset: str) -> None:
        self.asset = asset
        super().__init__(
            f"{asset} has nothing to do in this project: tamis.toml configures nothing that it would make; "
            "the template that `tamis init` writes shows the sections"
        )


class PartitionGoneError(PermanentError):
    """What a run was asked to make has left the project since, or waits to be at rest."""

    def __init__(self, asset: str, partition: str) -> None:
        self.asset, self.partition = asset, partition
        super().__init__(
            f"{asset} of {partition} is not there to be made: its file is gone or still being written, or "
            "tamis.toml no longer names it"
        )
