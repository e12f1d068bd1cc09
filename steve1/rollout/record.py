"""Records an episode in the contractor format: `<prefix>.mp4` (20 fps), `<prefix>.jsonl` (one tick a line), `<prefix>-options.json`.

Frame i is what the player saw before action i. The mouse moves by whole pixels, as a real one does, and the game gets exactly the
rounded move; the moves of scripted players lie well inside the policy's camera bins.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steve1.actions.contractor import KEY_OF, MOUSE_OF
from steve1.core.errors import UserError
from steve1.core.files import read_json, rename, scratch_dir, write_json
from steve1.core.seeds import generator, integer
from steve1.data.media.video import VideoWriter
from steve1.envs.interface import Action, Env, Info, Observation, wrap
from steve1.envs.starts import start_states
from steve1.rollout.play import Actor, play
from steve1.rollout.players import Behaviour, Player
from steve1.rollout.players.player import DEGREES_PER_PIXEL
from steve1.rollout.trace import Trace

FORMAT = "luanti-1"
Judge = Callable[[Trace], tuple[bool, float]]  # (did it do the thing, how far it got)
_ENDINGS = ("-options.json", ".jsonl", ".mp4")  # of a recording's files, in the order in which they get their names
_STATS = {"dug": "minecraft.mine_block", "placed": "minecraft.use_item", "crafted": "minecraft.craft_item"}


@dataclass(frozen=True)
class Recorded:
    """The outcome of one episode: `value` is the behaviour's measure; nothing is on disk unless `kept`."""

    prefix: Path
    steps: int
    value: float
    success: bool
    kept: bool


class TickWriter:
    """Turns observations and actions into the lines of a contractor's jsonl."""

    def __init__(self) -> None:
        self._keys: list[str] = []
        self._buttons: list[int] = []
        self._slot = 0

    def tick(self, number: int, obs: Observation, info: Info, action: Action) -> dict[str, Any]:
        """One line. `action` must have whole-pixel camera moves (see `whole_pixels`)."""
        keys = [key for name, key in KEY_OF.items() if action.get(name)]
        buttons = [button for name, button in MOUSE_OF.items() if action.get(name)]
        scale = 720 / obs["pov"].shape[0]  # the recorder's window is 1280x720
        x, y = (float(v) * scale for v in info.get("pointer", (0, 0)))
        dy, dx = (round(float(v) / DEGREES_PER_PIXEL) for v in action["camera"])
        place = obs["location_stats"]
        for slot in range(8):
            if action.get(f"hotbar.{slot + 1}"):
                self._slot = slot
        stats = {f"{kind}:{name}": n for key, kind in _STATS.items() for name, n in sorted(info.get(key, {}).items())}
        line = {
            "mouse": {
                "x": x, "y": y, "dx": float(dx), "dy": float(dy), "scaledX": x - 640.0, "scaledY": y - 360.0,
                "dwheel": 0.0, "buttons": buttons, "newButtons": [b for b in buttons if b not in self._buttons],
            },
            "keyboard": {"keys": keys, "newKeys": [k for k in keys if k not in self._keys], "chars": ""},
            "isGuiOpen": obs["is_gui_open"], "isGuiInventory": obs["is_gui_open"], "hotbar": self._slot,
            "yaw": place["yaw"], "pitch": place["pitch"], "xpos": place["xpos"], "ypos": place["ypos"],
            "zpos": place["zpos"], "tick": number, "milli": number * 50,
            "inventory": [{"type": name, "quantity": n} for name, n in sorted(obs["inventory"].items())],
            "serverTick": int(info.get("game_tick", number)), "serverTickDurationMs": 50.0, "stats": stats,
        }  # fmt: skip
        self._keys, self._buttons = keys, buttons
        return line


def whole_pixels(action: Action) -> Action:
    """The action with its camera rounded to whole mouse pixels of 0.15 degrees."""
    return {**action, "camera": [round(float(v) / DEGREES_PER_PIXEL) * DEGREES_PER_PIXEL for v in action["camera"]]}


def is_recorded(prefix: Path) -> bool:
    """Whether all three files of a recording are there; the video gets its name last.

    Raises:
        UserError: files of this name are there that the recorder did not leave, and would be replaced.
    """
    there = [os.path.lexists(f"{prefix}{end}") for end in _ENDINGS]
    if all(there):
        return True
    # A kill may leave the first or the first two, never another choice of them.
    options = Path(f"{prefix}{_ENDINGS[0]}")
    if any(there) and (there[2] or not there[0] or read_json(options).get("format") != FORMAT):
        found = ", ".join(f"{prefix.name}{end}" for end, is_there in zip(_ENDINGS, there) if is_there)
        todo = "move them, or name another folder for the recordings"
        raise UserError(
            "Files of this name are there and are no whole recording.", where=prefix.parent, got=found, todo=todo
        )
    return False


def record(
    env: Env, player: Actor, steps: int, prefix: str | os.PathLike[str], *, behaviour: str,
    reset_options: dict[str, Any], judge: Judge, captions: Sequence[str] = (), unit: str = "", seed: int = 0,
    only_successful: bool = False, details: dict[str, Any] | None = None,
) -> Recorded:  # fmt: skip
    """Play one episode and write its recording under `prefix`, whole or not at all.

    Args:
        reset_options: given to `env.reset` (start, yaw, pitch, inventory, watch ...), and kept in the options file.
        judge: says of the finished episode whether it did the thing, and how far it got (in `unit`): the task's own rule.
        captions: what the behaviour is called in words; kept in the options file.
        only_successful: drop the recording of an episode that fails.
        details: more entries for the options file.

    Raises:
        GameDied: nothing is left behind; the same call can be made again with a fresh game and player.
    """
    target = Path(prefix)
    env.draw_pointer = False  # conversion draws it, as for any recording
    try:
        with scratch_dir(target) as part:
            with contextlib.ExitStack() as held:
                trace = play(_Recorder(player, part, held), env, steps, seed=seed, options=reset_options)
            success, value = judge(trace)
            kept = success or not only_successful
            if kept:
                options = {
                    "format": FORMAT, "env": "luanti", "behaviour": behaviour, "captions": list(captions),
                    "seed": seed, "steps": len(trace), "success": success, "value": round(value, 3), "unit": unit, "reset": reset_options, **(details or {}),
                }  # fmt: skip
                write_json(part / "options.json", options)
                for name, end in zip(("options.json", "ticks.jsonl", "video.mp4"), _ENDINGS):
                    rename(part / name, Path(f"{target}{end}"))
        return Recorded(target, len(trace), value, success, kept)
    finally:
        env.draw_pointer = True


class _Recorder:
    """An actor that acts as `player` does, with whole mouse pixels, and writes down what it sees and does."""

    def __init__(self, player: Actor, folder: Path, held: contextlib.ExitStack) -> None:
        self._player, self._folder, self._held = player, folder, held

    def reset(self, obs: Observation, info: Info) -> None:
        height, width = obs["pov"].shape[:2]
        self._video = self._held.enter_context(VideoWriter(self._folder / "video.mp4", width, height))
        lines = open(self._folder / "ticks.jsonl", "w")  # noqa: SIM115  (the stack closes it)
        self._lines = self._held.enter_context(lines)
        self._ticks, self._number = TickWriter(), 0
        self._player.reset(obs, info)

    def act(self, obs: Observation, info: Info) -> Action:
        action = whole_pixels(self._player.act(obs, info))
        self._video.write(obs["pov"])
        self._lines.write(json.dumps(self._ticks.tick(self._number, obs, info, action)) + "\n")
        self._number += 1
        return action


def demonstration(
    behaviour: Behaviour, seed: int, episode: int, attempt: int = 0, *, split: str = "demo"
) -> tuple[dict[str, Any], int, Player]:
    """(reset options, seed, player) of one demonstration: a function of its arguments.

    Start states are used in a shuffled order, each once before any is used again. Yaw is free on a plain and faces roughly
    the trunk or the water elsewhere; the first pitch is anywhere within ±70 degrees.
    """
    starts = start_states("luanti", behaviour.biome, split)
    order = generator(seed, "places", behaviour.name).permutation(len(starts))
    start = starts[int(order[(episode + attempt * 7) % len(starts)])]
    rng = generator(seed, "start", behaviour.name, episode, attempt)
    own_seed = integer(seed, "episode", behaviour.name, episode, attempt)
    yaw = wrap(start["yaw"] + rng.uniform(-behaviour.yaw_spread, behaviour.yaw_spread))
    options = {
        "start": start, "yaw": round(float(yaw), 2), "pitch": round(float(rng.uniform(-70, 70)), 2),
        **behaviour.reset_options(),
    }  # fmt: skip
    return options, own_seed, behaviour.player(own_seed)


def check_steps(steps: int) -> None:
    """Refuse episodes that are too short to hold a goal."""
    if steps < 32:
        raise UserError(
            "Recordings this short hold no goal.", got=f"{steps} steps", expected="at least 32", todo="--steps 300"
        )
