"""A pool of processes is left at once and with one message, whatever becomes of its processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import pytest

from steve1.core.errors import UserError
from steve1.core.executor.pool import process_pool

HOUR = 3600.0  # longer than any test may take


def kill_itself(number: int) -> int:
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def fail(number: int) -> int:
    if number == 1:
        raise UserError("It is broken.", where=f"number {number}")
    time.sleep(0 if number < 1 else HOUR)
    return number


def results(pool: ProcessPoolExecutor, function: Callable[[int], int]) -> list[int]:
    return [future.result() for future in [pool.submit(function, number) for number in range(5)]]


@pytest.mark.e2e
def test_results_come_in_order() -> None:
    with process_pool(2) as pool:
        assert results(pool, abs) == [0, 1, 2, 3, 4]


@pytest.mark.e2e
def test_a_killed_process_is_one_message() -> None:
    with pytest.raises(UserError, match="worker process died") as fault, process_pool(2) as pool:
        results(pool, kill_itself)
    assert "fewer --workers" in str(fault.value)


@pytest.mark.e2e
@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_one_job_does_not_wait_for_the_others(workers: int) -> None:
    """The others would take an hour."""
    with pytest.raises(UserError, match="It is broken"), process_pool(workers) as pool:
        results(pool, fail)


@pytest.mark.e2e
def test_ctrl_c_does_not_wait_for_jobs() -> None:
    with pytest.raises(KeyboardInterrupt), process_pool(2) as pool:
        for future in [pool.submit(time.sleep, HOUR) for _ in range(4)]:
            assert not future.done()
        raise KeyboardInterrupt
