"""MCio's packets as the interface's observations. Needs mcio-ctrl.

What was dug, placed, crafted and picked up since the episode's beginning comes from Minecraft's own statistics. Names are Minecraft's ids
without "minecraft:".
"""

from __future__ import annotations

from typing import Any

import glfw
from mcio_ctrl import network
from mcio_ctrl.envs.env_util import StatsCache

KINDS = {"dug": "minecraft:mined", "placed": "minecraft:used", "crafted": "minecraft:crafted", "picked_up": "minecraft:picked_up",
         "killed": "minecraft:killed"}  # fmt: skip
# "used" counts placed blocks, and every stroke of a tool: what is never placed is left out.
TOOLS = (
    "_pickaxe",
    "_axe",
    "_shovel",
    "_hoe",
    "_sword",
    "bow",
    "shears",
    "flint_and_steel",
    "fishing_rod",
    "shield",
    "bucket",
)
SWIMMING = ("swim_one_cm", "walk_under_water_one_cm", "walk_on_water_one_cm")
WET_TICKS = 10  # a swimmer who rests for half a second still is in the water


def short(name: str) -> str:
    """minecraft:dirt -> dirt."""
    return name.rpartition(":")[2]


def wrap(yaw: float) -> float:
    """Degrees in [-180, 180)."""
    return (float(yaw) + 180.0) % 360.0 - 180.0


class Reader:
    """Keeps the statistics of a world and their values at the episode's beginning."""

    def __init__(self) -> None:
        self.stats = StatsCache()
        self.slot = 0
        self._before: dict[str, dict[str, int]] = {}
        self._swum, self._wet = 0, 0

    def hear(self, packet: network.ObservationPacket) -> None:
        """Take in a packet's statistics (only what changed is sent)."""
        self.stats.update_cache(packet)
        swum = sum(self.stats["minecraft:custom"].get("minecraft:" + name, 0) for name in SWIMMING)
        self._wet = WET_TICKS if swum > self._swum else max(0, self._wet - 1)
        self._swum = swum

    def begin(self) -> None:
        """An episode begins: count from here, from the first hotbar slot."""
        self._before = {category: dict(values) for category, values in self.stats.items()}
        self.slot, self._wet = 0, 0

    def _since(self, category: str) -> dict[str, int]:
        before = self._before.get(category, {})
        gained = {short(name): value - before.get(name, 0) for name, value in self.stats[category].items()}
        return {name: count for name, count in gained.items() if count > 0}

    def observation(self, packet: network.ObservationPacket) -> tuple[dict[str, Any], dict[str, Any]]:
        """(obs, info) of a packet; the pointer is drawn by the main program, as in the recordings."""
        location = dict(zip(("xpos", "ypos", "zpos"), map(float, packet.player_pos)))
        location.update(yaw=wrap(packet.player_yaw), pitch=float(packet.player_pitch))
        obs = {
            "pov": packet.get_frame(), "inventory": inventory(packet), "location_stats": location,
            "is_gui_open": gui_open(packet), "hotbar": self.slot,
        }  # fmt: skip
        counts = {kind: self._since(category) for kind, category in KINDS.items()}
        counts["placed"] = {name: count for name, count in counts["placed"].items() if not name.endswith(TOOLS)}
        info: dict[str, Any] = {
            **counts, "in_water": self._wet > 0, "health": float(packet.health), "game_tick": packet.sequence,
            "deaths": self._since("minecraft:custom").get("deaths", 0), "pointer": [int(value) for value in packet.cursor_pos],
        }  # fmt: skip
        return obs, info


def gui_open(packet: network.ObservationPacket) -> bool:
    """Whether the pointer is free: a menu is open."""
    return bool(packet.cursor_mode == glfw.CURSOR_NORMAL)


def inventory(packet: network.ObservationPacket) -> dict[str, int]:
    """{item: count} over main, armour and off hand."""
    counts: dict[str, int] = {}
    for slot in (*packet.inventory_main, *packet.inventory_armor, *packet.inventory_offhand):
        if slot.count > 0 and short(slot.id) != "air":
            counts[short(slot.id)] = counts.get(short(slot.id), 0) + int(slot.count)
    return counts
