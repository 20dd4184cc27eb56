"""What goes wrong with workers on other machines, as opposed to what goes wrong in the work itself."""

from tamis.base.errors import PermanentError, TransientError


def last_line(error: Exception) -> str:
    """Return the last line of an error that came from a worker, its class where it has no text."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__


class WorkersLostError(TransientError):
    """Every worker that had a block was lost; says which work, how often, and what would help."""

    def __init__(self, work: str, tries: int, cause: str) -> None:
        self.work, self.tries, self.cause = work, tries, cause
        super().__init__(
            f"{work}: {tries} workers in a row were lost on the same block of data (last cause: {cause}). "
            "If memory ran out, raise cpus_per_worker in [engine], so that fewer workers share a node, lower "
            "batch_size in [judge], or shorten the documents. If nodes join and leave the cluster, raise "
            "retries in [engine]"
        )


class NoWorkersError(TransientError):
    """The cluster has had no place for a single worker for minutes."""

    def __init__(self, wanted: str, offered: str, seconds: float) -> None:
        self.wanted, self.offered = wanted, offered
        super().__init__(
            f"no worker could start within {seconds:.0f} s: each worker needs {wanted}, and the Ray cluster "
            f"has {offered}; add nodes, wait for other work to end, or lower cpus_per_worker and "
            "gpus_per_worker in [engine]"
        )


class ClusterUnreachableError(TransientError):
    """There is no cluster at the configured address, or it cannot be joined from here."""

    def __init__(self, address: str | None, problem: str) -> None:
        self.address, self.problem = address, problem
        remedy = (
            "check the memory and disk space of this machine"
            if address is None
            else "start a node on this machine with `ray start --address=<host:port of the head node>`, or "
            "correct address in [engine]; without address, Tamis starts a cluster on this machine"
        )
        super().__init__(f"cannot use the Ray cluster {address or 'on this machine'}: {problem}; {remedy}")


class UnlikeWorkerError(PermanentError):
    """A worker cannot do what this process would: other code, or none."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(
            f"a worker of the Ray cluster {problem}; install the same version of Tamis, with the same "
            "packages, on every node"
        )
