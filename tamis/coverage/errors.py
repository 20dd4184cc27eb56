"""Errors of the coverage package; all are `ValueError` too, as the public interface promises."""

from tamis.base.errors import PermanentError


class BadVectorsError(PermanentError, ValueError):
    """Vectors that cannot be hashed; `row` is the first offending row, None when the whole does not fit."""

    def __init__(self, problem: str, row: int | None = None) -> None:
        self.problem, self.row = problem, row
        super().__init__(problem if row is None else f"row {row}: {problem}")


class BadDensityError(PermanentError, ValueError):
    """Densities, ids or a sample size that no draw can be made from."""

    def __init__(self, problem: str, row: int | None = None) -> None:
        self.problem, self.row = problem, row
        super().__init__(problem if row is None else f"row {row}: {problem}")


class SketchError(PermanentError, ValueError):
    """A sketch built, calibrated or merged with settings that do not fit; `setting` names the one."""

    def __init__(self, setting: str, problem: str) -> None:
        self.setting, self.problem = setting, problem
        super().__init__(f"{setting}: {problem}")


class ClusteringError(PermanentError, ValueError):
    """Documents or settings that cannot be clustered; `setting` names the one."""

    def __init__(self, setting: str, problem: str) -> None:
        self.setting, self.problem = setting, problem
        super().__init__(f"{setting}: {problem}")


class UniformDrawWarning(UserWarning):
    """A draw by inverse density that is uniform in disguise; `share` is its effective sample size over N."""

    def __init__(self, share: float, limit: float) -> None:
        self.share, self.limit = share, limit
        super().__init__(
            f"the effective sample size of the 1 / density weights is {share:.1%} of the pool (maximum "
            f"{limit:.0%}), so the draw is practically uniform; use more hashes or a smaller width"
        )
