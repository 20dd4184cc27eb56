"""Parts of a benchmark in processes of one thread each, which end with the benchmark that started them."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import Any

import torch

from tamis.base.precision import computing_in, precision_in_force

_ENTERED = ExitStack()
"""What a worker has entered for as long as it runs."""


def in_workers(function: Callable[..., object], calls: Sequence[tuple[Any, ...]], workers: int) -> None:
    """Call `function` with each of some arguments, `workers` at a time; what one raises ends them all.

    Models as small as those here gain little from a second thread. All compute in the precision that is the
    faster one here: workers that each measured it next to the others would not all find the same.
    """
    with ProcessPoolExecutor(workers, get_context("spawn"), _start, (precision_in_force(),)) as pool:
        waiting = [pool.submit(function, *arguments) for arguments in calls]
        try:
            for finished in as_completed(waiting):
                finished.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # what has not begun must not begin
            raise


def _start(precision: str) -> None:
    """One thread, one precision, and an end with the benchmark, however that ends."""
    torch.set_num_threads(1)
    _ENTERED.enter_context(computing_in(precision))
    parent = parent_process()
    assert parent is not None
    Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
