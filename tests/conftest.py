"""Fixtures and rules shared by all tests: the golden tensors, and what is skipped where.

`game` tests are skipped where Luanti is not installed, except under `run_tests.sh` on a machine where it could have
been installed: there its absence fails. `gpu` tests are skipped where there is no CUDA device.
"""

from __future__ import annotations

import collections
import gc
import math
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

# Many small tests on few cores: threads inside each only get in one another's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A cluster that another process of this machine started and will stop is nothing for a test.
os.environ.setdefault("RAY_ADDRESS", "local")
# Its own gives up nobody who is only slow.
os.environ.setdefault("RAY_worker_register_timeout_seconds", "600")
os.environ.setdefault("RAY_health_check_failure_threshold", "100")
# Its workers are started for an environment; those that it starts in advance have none, and are never used.
os.environ.setdefault("RAY_prestart_worker_first_driver", "0")
# Nor are the script that started the tests and the folder where it was typed.
os.environ.pop("STEVE1_FROM", None)
os.environ.pop("STEVE1_SCRIPT", None)
# What is measured in a test is not kept for the user; compiled kernels are kept from one run of the tests to the next.
os.environ["XDG_CACHE_HOME"] = os.path.join(tempfile.gettempdir(), f"steve1_tests_cache-{os.getuid()}")

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from tests import quick_disk  # noqa: F401  # each wait for the disk takes as long as a small test
from tests.clusters import NEEDS_RAY, ray_cluster
from tests.forks import quick_context
from tests.goldens import GOLDEN

# The language of whoever started the tests is nothing for them either.
for variable in ("STEVE1_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
    if os.environ.get(variable, "").lower().startswith("zh"):
        del os.environ[variable]
# The same examples each time, however long a busy machine takes over one.
settings.register_profile("any machine", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
# Garbage is looked for less often: among thousands of tests and their modules it took a twelfth of the time.
gc.set_threshold(10_000, 20, 20)

THREADS = os.environ["OMP_NUM_THREADS"]
MARKERS = ("e2e", "game", "gpu")
# Where several processes share the tests, these files come first, then the others with long tests: what is long does not begin last.
LONGEST = (
    "tests/e2e/test_quickstart.py",
    "tests/envs/minecraft/test_minecraft.py",  # mostly waits, as those of workers and tasks below: others fill the time
    "tests/data/recordings/test_shards.py",
    "tests/devices/test_pretended_cuda.py",
    "tests/rl/test_loop.py",
    "tests/evaluation/tasks/test_minedojo_tasks.py",
    "tests/training/test_run.py",
    "tests/training/test_resume.py",
    "tests/envs/worker/test_worker.py",
    "tests/idm/test_labelling.py",
    "tests/evaluation/test_game.py",
    "tests/training/test_checkpoints.py",
    "tests/evaluation/runner/test_workers.py",
    "tests/envs/luanti/test_luanti.py",
    "tests/training/test_parallel.py",
    "tests/idm/test_mini.py",
    "tests/core/test_executor.py",
    "tests/evaluation/test_campaign.py",
)


def pytest_sessionstart() -> None:
    (Path(os.environ["XDG_CACHE_HOME"]) / "steve1" / "tuning.json").unlink(missing_ok=True)


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of arrays and lists made with the reference code; `golden_arrays` reads its .npz files."""
    return GOLDEN


@pytest.fixture(scope="session")
def cluster() -> Iterator[ModuleType]:
    """Ray with a cluster of two machines; a test that asks for it has "ray" in its name, and runs beside the others that do."""
    with ray_cluster() as ray:
        yield ray


@pytest.fixture(autouse=True)
def quick_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are forked from a server; how they are spawned is tested by the scripts that tests run."""
    monkeypatch.setattr(multiprocessing, "get_context", quick_context)


@pytest.fixture(autouse=True)
def nothing_is_timed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How work is spread over the processor, and with it the rounding, follows from no measurement, except in the tests of that."""
    if request.path.name != "test_tuning.py" and (tuning := sys.modules.get("steve1.core.tuning")) is not None:
        monkeypatch.setattr(tuning, "LEAST", math.inf)


@pytest.fixture(autouse=True, scope="module")
def nothing_is_left_replaced() -> Iterator[None]:
    """A module that is first imported while a test replaces what it imports keeps the replacement, and tests after it fail."""
    yield
    left = [
        f"{module.__name__}.{name} is {value.__module__}.{value.__qualname__}"
        for module in list(sys.modules.values())
        if getattr(module, "__name__", "").partition(".")[0] in ("steve1", "research", "benchmarks")
        for name, value in list(vars(module).items())
        if isinstance(value, (FunctionType, type)) and str(value.__module__).startswith("tests.")
    ]
    assert not left, "tests replaced these for good: import the module at the test's top. " + "; ".join(left)


def _game_missing() -> str:
    path = os.environ.get("PATH", "") + os.pathsep + "/usr/games"
    names = [name for name in ("minetest", "Xvfb", "gcc") if not shutil.which(name, path=path)]
    return " and ".join(names)


def _game_could_be_installed() -> bool:
    return shutil.which("apt-get") is not None and hasattr(os, "geteuid") and os.geteuid() == 0


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _longest_first(items: list[pytest.Item]) -> None:
    """Sort whole files: the longest, others with tests of a marker, the rest."""
    slow = {_file(item) for item in items if any(item.get_closest_marker(name) for name in MARKERS)}
    order = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(_file(item), len(order) + (_file(item) not in slow)))


def _file(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Whole files for each process, except that one has all tests of a cluster."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class FilesAndCluster(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "ray" if NEEDS_RAY.search(nodeid) else super()._split_scope(nodeid)

    return FilesAndCluster(config, log)


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()  # what is there now stays, and is not looked at again


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        _longest_first(items)
    missing = _game_missing() if any(item.get_closest_marker("game") for item in items) else ""
    must_have = os.environ.get("STEVE1_TESTS") == "all" and _game_could_be_installed()
    gpu = any(item.get_closest_marker("gpu") for item in items) and _has_gpu()
    for item in items:
        if item.get_closest_marker("game") and missing and not must_have:
            item.add_marker(pytest.mark.skip(reason=f"the game is not installed: {missing} missing"))
        if item.get_closest_marker("gpu") and not gpu:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    # What tests before this one drew, and the threads that they left, change nothing.
    random.seed(0)
    np.random.seed(0)
    os.environ["OMP_NUM_THREADS"] = THREADS
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(0)
        torch.set_num_threads(int(THREADS))
    if item.get_closest_marker("game") and _game_missing():
        pytest.fail(
            f"the game could have been installed here and was not: {_game_missing()} missing; run: bash tools/setup.sh"
        )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line per kind of test: how many ran, how many were skipped."""
    counts: dict[str, collections.Counter[str]] = {name: collections.Counter() for name in ("fast", *MARKERS)}
    for outcome in ("passed", "failed", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            kinds = [name for name in MARKERS if name in getattr(report, "keywords", ())] or [
                "fast"
            ]  # a module has none
            for kind in kinds:
                counts[kind][outcome] += 1
    for kind, count in counts.items():
        if count:
            terminalreporter.write_line(
                f"{kind:>5}: " + ", ".join(f"{number} {outcome}" for outcome, number in count.items())
            )
