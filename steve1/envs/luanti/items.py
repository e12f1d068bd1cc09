"""Luanti's item names as the short names of the observation ("default:tree": "log"), and back.

Names that have a Minecraft counterpart get its short name; others lose their prefix.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

_WOODS = ("", "jungle", "pine_", "acacia_", "aspen_")
_SHORT = {
    **{f"default:{kind}tree": "log" for kind in _WOODS},
    **{f"default:{kind}wood": "planks" for kind in _WOODS},
    "default:dirt_with_grass": "grass_block",
    "default:cobble": "cobblestone",
    "default:desert_cobble": "desert_cobblestone",
    "default:grass_1": "tall_grass",
    "default:junglegrass": "jungle_grass",
    "default:dry_grass_1": "dry_grass",
    "default:fern_1": "fern",
    "farming:seed_wheat": "wheat_seeds",
    "farming:seed_cotton": "cotton_seeds",
    "default:torch": "torch",
    "default:pick_wood": "wooden_pickaxe",
    "default:pick_stone": "stone_pickaxe",
    "default:pick_steel": "steel_pickaxe",
    "default:shovel_wood": "wooden_shovel",
    "default:axe_wood": "wooden_axe",
    "default:coal_lump": "coal",
    "mesecons_switch:mesecon_switch_off": "switch",
    "mesecons_switch:mesecon_switch_on": "switch_on",
    "mesecons_lamp:lamp_off": "lamp",
    "mesecons_lamp:lamp_on": "lamp_lit",
    "mesecons:wire_00000000_off": "wire",
}
_LONG = {short: long for long, short in reversed(_SHORT.items())}


def short_name(item: str) -> str:
    """Short name of a game's item ("default:dirt" → "dirt")."""
    if item.startswith(("default:grass_", "default:dry_grass_", "default:fern_")):
        item = item[:-1] + "1"  # heights of the same plant
    return _SHORT.get(item, item.split(":")[-1])


def game_name(item: str) -> str:
    """The game's name of a short one ("dirt" → "default:dirt"); names with a prefix stay."""
    return item if ":" in item else _LONG.get(item, f"default:{item}")


def short_counts(counts: Mapping[str, int] | None) -> dict[str, int]:
    """Counts by short name; names that share a short one are added up."""
    total: Counter[str] = Counter()
    for name, count in (counts or {}).items():
        total[short_name(name)] += int(count)
    return dict(total)
