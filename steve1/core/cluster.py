"""Ray, where it is wanted: found, started once, and its faults in plain words.

In: what to do without it. Out: the ray package, connected to the cluster that `RAY_ADDRESS` names or to this machine.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

from steve1.core.errors import UserError
from steve1.core.paths import python_path


def require_ray(otherwise: str) -> Any:
    """The ray package; `otherwise`: what the user can do without it.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise UserError(
            "--ray needs Ray, which is not installed.",
            todo=f'.venv/bin/pip install "ray>=2.40", on every machine; or {otherwise}',
        ) from None


def connected_ray(otherwise: str) -> Any:
    """The ray package, connected; starts a cluster of this machine where no other is named.

    Raises:
        UserError: it is not installed, or the cluster does not answer.
    """
    ray = require_ray(otherwise)
    if not ray.is_initialized():
        address = os.environ.get("RAY_ADDRESS", "")
        try:
            ray.init(
                log_to_driver=False, include_dashboard=False, runtime_env={"env_vars": {"PYTHONPATH": python_path()}}
            )
        except Exception as fault:  # Ray raises bare Exceptions here
            raise UserError(
                "Ray's cluster does not answer." if address else "Ray could not be started on this machine.",
                where=f"RAY_ADDRESS={address}" if address else "",
                got=" ".join(str(fault).split())[:300],
                todo=f"see `ray status`; a machine that is very busy may need a second try; or {otherwise}",
            ) from fault
    return ray
