"""Workers on a Ray cluster: one actor for each, on whichever machine has room.

Ray is optional (`pip install ray`). Files and this project must lie at the same paths on all machines.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from steve1.core.errors import UserError
from steve1.core.executor.jobs import ExecutorConfig, JobResult, JobRunner, Recipe, Worker, WorkerDied
from steve1.core.messages import translated
from steve1.core.paths import python_path

_CLOSE_S = 20.0


def connected_ray(otherwise: str) -> ModuleType:
    """The ray package, connected; starts a cluster of this machine where `RAY_ADDRESS` names none.

    Args:
        otherwise: what the user can do without it.

    Raises:
        UserError: it is not installed, or the cluster does not answer.
    """
    try:
        ray = importlib.import_module("ray")
    except ImportError:
        raise UserError(
            "--ray needs Ray, which is not installed.",
            todo=f'.venv/bin/pip install "ray>=2.40", on every machine; or {otherwise}',
        ) from None
    if not ray.is_initialized():
        address = os.environ.get("RAY_ADDRESS", "")
        if address in ("", "local") and any(letter.isspace() for letter in sys.executable):
            raise UserError(
                "Ray starts no cluster from a folder with a blank in its path.",
                where=sys.executable,
                todo=f"move the project to a folder without one, name a running cluster with RAY_ADDRESS, or {otherwise}",
            )
        try:
            environment = {"env_vars": {"PYTHONPATH": python_path()}}
            ray.init(log_to_driver=False, include_dashboard=False, runtime_env=environment)
        except Exception as fault:  # Ray raises bare Exceptions here
            raise UserError(
                "Ray's cluster does not answer." if address else "Ray could not be started on this machine.",
                where=f"RAY_ADDRESS={address}" if address else "",
                got=" ".join(str(fault).split())[:300],
                todo=f"see `ray status`; a machine that is very busy may need a second try; or {otherwise}",
            ) from fault
    return ray


class RayWorker(Worker):
    """An actor somewhere in the cluster; its handle is the answer to come."""

    def __init__(self, recipe: Recipe, index: int, config: ExecutorConfig) -> None:
        self._ray = connected_ray("leave --ray out: --workers alone uses this machine's processes")
        # Lost actors are replaced by the executor, which counts them.
        actor = self._ray.remote(num_cpus=config.cpus, num_gpus=config.gpus, max_restarts=0)(JobRunner)
        self._actor = actor.remote(recipe, index, config.threads)
        self._started = self._actor.__ray_ready__.remote()
        self._wanted = {"CPU": config.cpus, "GPU": config.gpus}

    @staticmethod
    def ready(handles: Sequence[Any], timeout_s: float) -> Sequence[Any]:
        done: Sequence[Any] = importlib.import_module("ray").wait(list(handles), num_returns=1, timeout=timeout_s)[0]
        return done

    def why_not_started(self) -> str:
        if self._ray.wait([self._started], timeout=0)[0]:
            return ""
        free = self._ray.available_resources()
        room = ", ".join(
            translated(f"{free.get(name, 0):g} {name} free ({need:g} needed)")
            for name, need in self._wanted.items()
            if need
        )
        said = translated(f"; its logs end with: {lines}") if (lines := _last_errors()) else ""
        return f"Ray reports {room}{said}. It waits on; Ctrl-C ends it"

    def give(self, job: Any) -> None:
        self.handle = self._actor.run.remote(job)

    def answer(self) -> JobResult:
        try:
            result: JobResult = self._ray.get(self.handle)
            return result
        except self._ray.exceptions.RayError as fault:
            causes = [line.strip() for line in str(fault).splitlines() if "Error: " in line]
            raise WorkerDied(f"died ({type(fault).__name__})" + "".join(f": {line}" for line in causes[-1:])) from fault

    def close(self) -> None:
        self._ray.wait([self._actor.close.remote()], timeout=_CLOSE_S)
        self.kill()

    def kill(self) -> None:
        self._ray.kill(self._actor)


def _last_errors(most: int = 3) -> str:
    """The last different lines in the error logs of the cluster's processes on this machine."""
    logs = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "session_latest" / "logs"
    lines = [
        line.strip()[-300:]
        for path in (*logs.glob("raylet.err"), *logs.glob("worker-*.err"))
        for line in path.read_text(errors="replace").splitlines()
        if line.strip()
    ]
    return " | ".join(list(dict.fromkeys(lines))[-most:])
