"""What `make_env` does for every Minecraft: find its Python and Java, start its adapter in a worker."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from steve1.core.errors import UserError
from steve1.envs.minecraft import packages
from steve1.envs.worker.backend import Backend, Limits
from steve1.envs.worker.env import WorkerEnv


@dataclasses.dataclass(frozen=True)
class Minecraft:
    """A Minecraft whose adapter is `steve1.envs.minecraft.<name>.adapter`.

    Attributes:
        limits: the worker's.
        ports: TCP ports that it is handed.
        heap_mb: Java's heap.
        options: arguments of `make` that become settings of the adapter.
    """

    name: str
    limits: Limits
    ports: int = 4
    heap_mb: int = 4096
    options: tuple[str, ...] = ("resets_per_seed",)

    def make(self, *, biome: str, width: int, height: int, instance: int, **more: Any) -> WorkerEnv:
        """Start it.

        Args:
            biome: the spawn biome of resets that name none: "meadow" (plains), "forest", "shore" (beach).
            more: the adapter's `options`; `headless`, `limits`, `limits_more` as WorkerEnv takes them.

        Raises:
            UserError: its environment is missing or of the wrong version, or there is no Java that it can use.
        """
        settings = {"biome": biome, "java_home": packages.java_home(self.name)}
        settings |= {name: more.pop(name) for name in self.options if name in more}
        backend = Backend(
            self.name,
            f"steve1.envs.minecraft.{self.name}.adapter",
            python=lambda: str(packages.find_interpreter(self.name)),
            display=True,
            ports=self.ports,
            heap_mb=self.heap_mb,
            limits=self.limits,
        )
        return WorkerEnv(backend, settings, width=width, height=height, instance=instance, **more)

    def playable(self) -> bool:
        """Whether the package is installed and there is a Java for it."""
        if not packages.installed_version(self.name):
            return False
        try:
            packages.java_for(self.name)
        except UserError:
            return False
        return True

    def missing_mods(self, wanted: Sequence[str]) -> dict[str, str]:
        """See `registry.Game`."""
        return dict.fromkeys(wanted, f"{self.name} has no such mod")
