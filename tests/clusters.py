"""Ray for tests: skipped where it is not installed or cannot start."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from steve1.core.paths import python_path

NEEDS_RAY = re.compile(r"::.*(?<![a-z])ray(?![a-z])")
"""Finds the tests that use a cluster, by their names: one process runs all of them, so that one cluster is started."""


def ray_or_skip() -> ModuleType:
    """The ray package; skips the test where there is none, or where Python lies in a folder from which it cannot start."""
    if any(letter.isspace() for letter in sys.executable):
        pytest.skip("ray does not start from a folder with a blank in its path")
    ray: ModuleType = pytest.importorskip("ray", reason="ray is not installed: pip install ray")
    return ray


@contextlib.contextmanager
def ray_cluster() -> Iterator[ModuleType]:
    """Ray, connected to a cluster of two machines with a core each, on this one.

    Ray waits 30 s for its own processes, which is not enough everywhere: it is tried three times.
    """
    ray = ray_or_skip()
    from ray.cluster_utils import Cluster

    # Neither pages nor logs nor new machines are wanted: each is a program of its own that takes seconds to start.
    head = {"num_cpus": 1, "include_dashboard": False, "include_log_monitor": False, "no_monitor": True}
    environment = {"env_vars": {"PYTHONPATH": python_path(), "OMP_NUM_THREADS": "1"}}
    for left in (2, 1, 0):
        nodes = Cluster()
        try:
            nodes.add_node(**head)
            nodes.add_node(num_cpus=1)
            ray.init(address=nodes.address, runtime_env=environment, log_to_driver=False)
            break
        except Exception:  # Ray raises bare Exceptions here
            ray.shutdown()
            nodes.shutdown()
            if not left:
                raise
    yield ray
    ray.shutdown()
    nodes.shutdown()
