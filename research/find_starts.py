"""Searches the Luanti map for start states and keeps them in steve1/envs/luanti_starts.json: `python -m research.find_starts`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from research.luanti_survey import find_starts, green_points, read_field
from steve1.commands.cli import run
from steve1.core.files import write_json
from steve1.core.messages import progress, translated
from steve1.core.paths import output_path
from steve1.core.seeds import generator
from steve1.envs.luanti.env import LuantiEnv
from steve1.envs.starts import BIOMES, FILE, MAP_SEED


@dataclass(frozen=True)
class Args:
    output: str = str(FILE)
    """Output file."""
    demo: int = 60
    """Start states per biome for demonstrations (the search ends when all are found or the map is used up)."""
    eval: int = 30
    """Start states per biome for evaluation."""
    per_region: int = 3
    """Maximum start states per region and biome; regions are 320 nodes apart, and each serves one split only."""
    reach: int = 6000
    """Half the side of the searched square, nodes."""
    seed: int = 0
    """Order of the search."""


def main(args: Args) -> None:
    """Search, writing what was found every ten regions."""
    wanted = {"demo": args.demo, "eval": args.eval}
    starts: list[dict[str, Any]] = []
    have: Counter[tuple[str, str]] = Counter()
    with LuantiEnv(width=160, height=96) as env:
        points = green_points(env, 320, args.reach)
        generator(args.seed, "regions").shuffle(points)
        bar = progress(points, desc=translated("regions"), unit="region")
        for number, (x, y, z) in enumerate(bar):
            split = "eval" if number % 3 == 2 else "demo"
            missing = [s for s in BIOMES if have[s, split] < wanted[split]]
            if not missing:
                if all(have[s, p] >= wanted[p] for s in BIOMES for p in wanted):
                    break
                continue
            field = read_field(env, x, y, z)
            for biome in missing:
                left = min(args.per_region, wanted[split] - have[biome, split])
                rng = generator(args.seed, biome, x, z)
                for start in find_starts(field, biome, left, rng):
                    have[biome, split] += 1
                    name = f"{biome}_{split}_{have[biome, split]:03d}"
                    starts.append({"id": name, **start, "split": split})
            bar.set_postfix({f"{s[:2]}_{p}": have[s, p] for s in BIOMES for p in wanted})
            if number % 10 == 0:
                _write(args, starts)
            if number % 60 == 59:
                env.restart()  # the map of a session stays in memory
    _write(args, starts)
    print(translated(f"{len(starts)} start states: ") + ", ".join(f"{s} {p} {n}" for (s, p), n in sorted(have.items())))


def _write(args: Args, starts: list[dict[str, Any]]) -> None:
    note = "Made by `python -m research.find_starts`. Game's coordinates; y is the feet; yaw clockwise from +z."
    ordered = sorted(starts, key=lambda s: s["id"])
    write_json(
        output_path(args.output), {"note": note, "map_seed": MAP_SEED, "search_seed": args.seed, "starts": ordered}
    )


if __name__ == "__main__":
    run(Args, main, "Search the Luanti map for places where episodes can begin.")
