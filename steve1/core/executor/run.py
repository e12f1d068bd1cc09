"""The loop that hands out jobs, takes results, and replaces workers that die or take too long."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from typing import cast

from steve1.core.executor.cluster import RayWorker
from steve1.core.executor.jobs import ExecutorConfig, J, JobResult, R, Recipe, Restarts, Worker, WorkerDied
from steve1.core.executor.local import InlineWorker, LocalWorker

_START_S = 60.0  # without a worker, after which it is said why
_log = logging.getLogger(__name__)


def run_jobs(
    jobs: Sequence[J],
    recipe: Recipe[J, R],
    on_result: Callable[[J, R], None],
    config: ExecutorConfig | None = None,
    *,
    more: Callable[[], Sequence[J]] | None = None,
) -> None:
    """Run all jobs; `on_result(job, value)` is called in this process, once for each, as they finish.

    Args:
        more: asked for further jobs when all are done; the run ends when it has none.

    Raises:
        UserError: a worker's own UserError, or too many restarts. The first error of a job ends the run and is raised here.
    """
    with contextlib.closing(job_results(jobs, recipe, config, more=more)) as results:
        for result in results:
            if result.error is not None:
                raise result.error
            on_result(result.job, cast(R, result.value))


def job_results(
    jobs: Sequence[J],
    recipe: Recipe[J, R],
    config: ExecutorConfig | None = None,
    *,
    more: Callable[[], Sequence[J]] | None = None,
) -> Generator[JobResult[J, R], None, None]:
    """The results of all jobs as they finish, errors included. Closing the generator early kills the workers.

    Raises:
        UserError: workers died too often, or Ray is wanted and missing.
    """
    config, waiting = config or ExecutorConfig(), deque(jobs)
    if not waiting:
        return

    def refill() -> bool:
        waiting.extend(more() if more else ())
        return bool(waiting)

    kind: type[Worker] = RayWorker if config.ray else LocalWorker if config.workers else InlineWorker
    count = max(1, config.workers if more else min(config.workers, len(waiting)))
    workers = [kind(recipe, index, config) for index in range(count)]
    restarts = Restarts(
        config.max_restarts, "Workers", "finished results are kept; the same command continues after them"
    )
    running: dict[int, tuple[J, float]] = {}
    lost: Counter[int] = Counter()  # by the identity of the job
    finished = False
    patient_until = time.monotonic() + _START_S
    try:
        while waiting or running or refill():
            for index, worker in enumerate(workers):
                if waiting and index not in running:
                    running[index] = (waiting.popleft(), time.monotonic())
                    worker.give(running[index][0])
            if time.monotonic() > patient_until:
                patient_until = math.inf
                if all(reasons := [worker.why_not_started() for worker in workers]):
                    _log.warning("no worker has started for %.0f s: %s", _START_S, reasons[0])
            ready = kind.ready([workers[index].handle for index in running], 1.0)
            for index, (job, began) in list(running.items()):
                worker = workers[index]
                try:
                    if worker.handle in ready:
                        result = worker.answer()
                    elif time.monotonic() - began > config.timeout_s:
                        raise WorkerDied(f"gave no answer for {config.timeout_s:.0f} s")
                    else:
                        continue
                except WorkerDied as death:
                    worker.kill()
                    number = restarts.add(str(death))
                    _log.warning(
                        "worker %d %s: replaced (%d of %d), its job is repeated", index, death, number, restarts.most
                    )
                    workers[index] = kind(recipe, index, config)
                    del running[index]
                    lost[id(job)] += 1
                    if lost[id(job)] == config.attempts:
                        yield JobResult(job, error=death)
                    else:
                        waiting.appendleft(job)
                else:
                    del running[index]
                    yield JobResult(job, result.value, result.error)
        finished = True
    finally:
        for worker in workers:
            if finished:
                worker.close()
            else:
                worker.kill()
