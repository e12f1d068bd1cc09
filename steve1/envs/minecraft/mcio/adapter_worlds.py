"""Minecraft worlds and settings for MCio. Needs mcio-ctrl.

An episode gets a pristine copy of a world under a name that no other worker uses. Each world is made once, by Minecraft's own server, and
kept in MCio's storage.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from mcio_ctrl import config, util, world
from nbt import nbt

from steve1.core import processes
from steve1.envs.worker.serve import BadInput, GameFault, report

# What VPT and STEVE-1 saw. In options.txt the field of view is stored as (degrees - 70) / 40.
OPTIONS = {
    "fov": "0.0", "guiScale": "1", "gamma": "1.0", "mouseSensitivity": "0.5", "rawMouseInput": "false", "fullscreen": "false",
    "pauseOnLostFocus": "false", "enableVsync": "false", "maxFps": "260", "autoJump": "false", "tutorialStep": "none", "narrator": "0",
    "toggleSprint": "false", "toggleCrouch": "false", "fovEffectScale": "1.0", "bobView": "true", "onboardAccessibility": "false",
    "soundCategory_master": "0.0", "lang": "en_us", "invertYMouse": "false", "hideGui": "false",
}  # fmt: skip
# A world of one biome gives what the biome promises; for the others the seed alone decides.
LEVEL_TYPES = {"meadow": "minecraft:single_biome_surface"}
_RUNNING = f"steve1-run-{socket.gethostname()}-"


class Worlds:
    """The worlds of one MCio folder, as seen by one worker."""

    def __init__(self, folder: str, instance: str) -> None:
        self.folder, self.instance = Path(folder), instance
        self.manager = world.WorldManager(mcio_dir=self.folder)
        self.saves = self.folder / "instances" / instance / "saves"
        self.own = f"{_RUNNING}{os.getpid()}"
        self.version = self._installed()

    def _installed(self) -> str:
        """Minecraft's version; BadInput where MCio has not installed one."""
        with config.ConfigManager(self.folder) as manager:
            known = manager.config.instances.get(self.instance)
        if known is None:
            folder = "" if self.folder == config.DEFAULT_MCIO_DIR else f" --mcio-dir {self.folder}"
            raise BadInput(
                "Minecraft is not installed for MCio.", where=self.folder / "instances" / self.instance,
                todo=f"data/backends/mcio/bin/mcio inst install {self.instance}{folder}  (it downloads 1 GB from Mojang)",
            )  # fmt: skip
        return known.minecraft_version

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """MCio's files have no locks of their own, and workers share them."""
        with open(self.folder / "steve1.lock", "w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def write_options(self) -> None:
        """Make the instance show what the policy was trained on."""
        with self._locked(), util.OptionsTxt(
            self.folder / "instances" / self.instance / "options.txt", save=True
        ) as options:
            for name, value in OPTIONS.items():
                options[name] = value

    def seed_of(self, folder: Path) -> int | None:
        """The seed that a world was really made with, from its level.dat."""
        try:
            return int(nbt.NBTFile(folder / "level.dat")["Data"]["WorldGenSettings"]["seed"].value)
        except (OSError, KeyError, ValueError, nbt.MalformedFileError):
            return None

    def fresh(self, seed: int, kind: str) -> str:
        """Name of a pristine copy of a world in the instance; the world is made first where it is not in the storage."""
        name = f"steve1-{kind}-{seed}"
        with self._locked():
            for _ in range(2):
                if not (self.manager.storage_dir / name).exists():
                    self._make(name, seed, kind)
                found = self.seed_of(self.manager.storage_dir / name)
                if found == seed:
                    break
                # Made under another seed (a server that had not yet read its new properties) or cut off halfway.
                self.manager.delete(world.STORAGE_LOCATION, name)
            else:
                raise GameFault(f"the server made a world of seed {found} where {seed} was asked for")
            self.manager.copy(world.STORAGE_LOCATION, name, self.instance, self.own, force=True)
        return self.own

    def _make(self, name: str, seed: int, kind: str) -> None:
        report(f"making the world {name}")
        # A server that was killed leaves its half-made world behind, and would load that.
        util.rmrf(self.folder / "servers" / self.version / name)
        properties = {"level-type": LEVEL_TYPES.get(kind, "minecraft:normal"), "spawn-protection": "0"}
        self.manager.create(name, mc_version=self.version, seed=seed, difficulty="easy", server_properties=properties)
        report("")

    def remove_own(self) -> None:
        """Delete this worker's copy."""
        if (self.saves / self.own).exists():
            with self._locked():
                self.manager.delete(self.instance, self.own)

    def sweep(self) -> None:
        """Delete the copies of this machine's workers that have ended without doing so."""
        for folder in self.saves.glob(_RUNNING + "*"):
            pid = folder.name[len(_RUNNING) :]
            if pid.isdigit() and processes.gone(int(pid)):
                util.rmrf(folder)
