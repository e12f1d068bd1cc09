"""The same jobs over a Ray cluster: one actor for each worker, on whichever machine has room.

In: jobs and a recipe, as for `workers.run_jobs`. Out: the same calls of `on_result`. Ray is optional (`pip install ray`); the run's folder and the
weights must lie where all machines see them. An actor that dies or takes too long is killed and replaced, a bounded number of times.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from steve1.core.cluster import connected_ray
from steve1.core.errors import UserError
from steve1.core.processes import limit_threads
from steve1.evaluation.runner.workers import Recipe, Runner, Supply, outcome

_log = logging.getLogger(__name__)


class RayRunner:
    """Lives on a machine of the cluster; builds its runner at the first job."""

    def __init__(self, recipe: Recipe, index: int, threads: int) -> None:
        limit_threads(threads)
        self._recipe, self._index = recipe, index
        self._runner: Runner | None = None

    def _built(self) -> Runner:
        if self._runner is None:
            self._runner = self._recipe(self._index)
        return self._runner

    def run(self, job: Any) -> tuple[str, Any]:
        """As a local worker answers."""
        return outcome(self._built, job)

    def close(self) -> bool:
        """Let go of everything."""
        if self._runner is not None:
            self._runner.close()
        return True


class _Cluster:
    def __init__(self, ray: Any, recipe: Recipe, workers: int, threads: int, max_restarts: int) -> None:
        self.ray, self.recipe, self.threads, self.max_restarts = ray, recipe, threads, max_restarts
        self.remote = ray.remote(num_cpus=1, max_restarts=0)(RayRunner)
        self.actors = [self._start(index) for index in range(workers)]
        self.busy: dict[Any, tuple[int, Any, float]] = {}
        self.restarts = 0

    def _start(self, index: int) -> Any:
        return self.remote.remote(self.recipe, index, self.threads)

    def give(self, supply: Supply) -> None:
        """A job for each idle actor, as long as there are any."""
        taken = {index for index, _, _ in self.busy.values()}
        for index, actor in enumerate(self.actors):
            if index not in taken and supply.waiting:
                job = supply.waiting.popleft()
                self.busy[actor.run.remote(job)] = (index, job, time.monotonic())

    def replace(self, index: int, why: str) -> None:
        """Kill an actor and start another in its place.

        Raises:
            UserError: this has happened too often.
        """
        self.ray.kill(self.actors[index])
        self.restarts += 1
        if self.restarts > self.max_restarts:
            raise UserError(
                "Workers died too often; the run stops here.",
                expected=f"at most {self.max_restarts} restarts",
                got=why,
                todo="finished episodes are kept; the same command continues after them",
            )
        _log.warning(
            "ray worker %d %s: replaced (%d of %d), its episode is repeated",
            index,
            why,
            self.restarts,
            self.max_restarts,
        )
        self.actors[index] = self._start(index)

    def close(self) -> None:
        """Let actors close their games, then end them."""
        idle = [
            self.actors[index]
            for index in range(len(self.actors))
            if index not in {index for index, _, _ in self.busy.values()}
        ]
        self.ray.wait(
            [actor.close.remote() for actor in idle] or [self.ray.put(True)], num_returns=max(len(idle), 1), timeout=20
        )
        for actor in self.actors:
            self.ray.kill(actor)


def run_jobs_on_ray(
    jobs: Sequence[Any], recipe: Recipe, on_result: Callable[[Any, Any], None], *, workers: int, threads: int, timeout_s: float,
    max_restarts: int, more: Callable[[], Sequence[Any]] | None = None,
) -> None:  # fmt: skip
    """As `workers.run_jobs`, over the cluster that `RAY_ADDRESS` names, or over this machine.

    Raises:
        UserError: Ray is not installed; a worker's own UserError; too many restarts. RuntimeError: any other fault inside a job.
    """
    ray = connected_ray("leave --ray out: --workers alone uses this machine's processes")
    supply = Supply(jobs, more)
    cluster = _Cluster(ray, recipe, workers, threads, max_restarts)
    try:
        while supply.waiting or cluster.busy or supply.refill():
            cluster.give(supply)
            _collect(cluster, supply, on_result, timeout_s)
    finally:
        cluster.close()


def _collect(cluster: _Cluster, supply: Supply, on_result: Callable[[Any, Any], None], timeout_s: float) -> None:
    done, _ = cluster.ray.wait(list(cluster.busy), num_returns=1, timeout=1.0)
    for reference in done:
        index, job, _ = cluster.busy.pop(reference)
        try:
            kind, content = cluster.ray.get(reference)
        except cluster.ray.exceptions.RayActorError as fault:
            supply.waiting.appendleft(job)
            cluster.replace(index, f"died ({type(fault).__name__})")
            continue
        if kind != "done":
            raise content if kind == "user" else RuntimeError(content)
        on_result(job, content)
    for reference, (index, job, began) in list(cluster.busy.items()):
        if time.monotonic() - began > timeout_s:
            cluster.busy.pop(reference)
            supply.waiting.appendleft(job)
            cluster.replace(index, f"gave no answer for {timeout_s:.0f} s")
