"""Mods of the game beyond Minetest Game that some tasks need: Debian's mesecons, for circuits.

Installed mods are linked into the world of every instance, and a task can ask beforehand whether its own are there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

# modpack → (the mods of it that are used, those that they depend on included; Debian's package)
PACKS: dict[str, tuple[tuple[str, ...], str]] = {
    "mesecons": (
        ("mesecons", "mesecons_wires", "mesecons_materials", "mesecons_switch", "mesecons_lamp", "mesecons_lightstone"),
        "minetest-mod-mesecons",
    )
}
FOLDERS = tuple(
    Path(f"{share}/{game}/mods")
    for share in ("/usr/share/games", "/usr/share", "/usr/local/share")
    for game in ("minetest", "luanti")
)


def mod_folders(pack: str, folders: Sequence[Path] = FOLDERS) -> list[Path]:
    """The folders of a modpack's mods; [] unless every one is installed."""
    mods, _ = PACKS[pack]
    for folder in folders:
        found = [folder / pack / mod for mod in mods]
        if all((path / "init.lua").is_file() for path in found):
            return found
    return []


def link_mods(into: Path, folders: Sequence[Path] = FOLDERS) -> list[str]:
    """Link the mods of every installed modpack into a world's `worldmods`; the packs' names."""
    packs = []
    for pack in PACKS:
        found = mod_folders(pack, folders)
        for path in found:
            (into / path.name).symlink_to(path)
        packs += [pack] if found else []
    return packs


def missing(packs: Sequence[str], folders: Sequence[Path] = FOLDERS) -> dict[str, str]:
    """{modpack: Debian package} for those that are not installed or not known ("")."""
    return {
        pack: PACKS[pack][1] if pack in PACKS else ""
        for pack in packs
        if pack not in PACKS or not mod_folders(pack, folders)
    }
