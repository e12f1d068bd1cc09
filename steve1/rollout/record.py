"""Records an episode in the contractor format: `<prefix>.mp4` (20 fps), `<prefix>.jsonl` (one tick a line), `<prefix>-options.json`.

Frame i is what the player saw before action i. The mouse moves by whole pixels, as a real one does, and the game gets exactly the
rounded move; the moves of scripted players lie well inside the policy's camera bins.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from steve1.actions.contractor import KEY_OF, MOUSE_OF
from steve1.core.errors import UserError
from steve1.core.files import read_json, rename, scratch_dir, write_json
from steve1.core.frames import draw_cursor
from steve1.core.processes import uninterrupted
from steve1.core.seeds import generator, integer
from steve1.data.media.video import VideoWriter
from steve1.envs.interface import Action, Env, Info, Observation, wrap
from steve1.envs.starts import start_states
from steve1.rollout.play import Actor, play
from steve1.rollout.players import Behaviour, Player
from steve1.rollout.players.player import DEGREES_PER_PIXEL
from steve1.rollout.supervise import CUT_OFF
from steve1.rollout.trace import Trace

FORMAT = "luanti-1"
Judge = Callable[[Trace], tuple[bool, float]]  # (did it do the thing, how far it got)
_ENDINGS = ("-options.json", ".jsonl", ".mp4")  # of a recording's files, in the order in which they get their names
_FEWEST = 32  # ticks of a recording that can hold a goal
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

    def tick(self, number: int, obs: Observation, info: Info, action: Action, who: str = "") -> dict[str, Any]:
        """One line. `action` must have whole-pixel camera moves (see `whole_pixels`); `who` took it, where several may."""
        keys = [key for name, key in KEY_OF.items() if action.get(name)]
        buttons = [button for name, button in MOUSE_OF.items() if action.get(name)]
        # VPT's recorder writes a stuck attack as newly pressed at the first tick, so that is where no button may be new.
        new_buttons = [button for button in buttons if number and button not in self._buttons]
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
                "dwheel": 0.0, "buttons": buttons, "newButtons": new_buttons,
            },
            "keyboard": {"keys": keys, "newKeys": [k for k in keys if k not in self._keys], "chars": ""},
            "isGuiOpen": obs["is_gui_open"], "isGuiInventory": obs["is_gui_open"], "hotbar": self._slot,
            "yaw": place["yaw"], "pitch": place["pitch"], "xpos": place["xpos"], "ypos": place["ypos"],
            "zpos": place["zpos"], "tick": number, "milli": number * 50,
            "inventory": [{"type": name, "quantity": n} for name, n in sorted(obs["inventory"].items())],
            "serverTick": int(info.get("game_tick", number)), "serverTickDurationMs": 50.0, "stats": stats,
        }  # fmt: skip
        self._keys, self._buttons = keys, buttons
        return {**line, "who": who} if who else line


def whole_pixels(action: Action) -> Action:
    """The action with its camera rounded to whole mouse pixels of 0.15 degrees."""
    return {**action, "camera": [round(float(v) / DEGREES_PER_PIXEL) * DEGREES_PER_PIXEL for v in action["camera"]]}


def with_pointer(obs: Observation, info: Info) -> Observation:
    """The observation with the arrow of an open menu in its picture, as conversion draws it and policies know it."""
    if not obs.get("is_gui_open") or "pointer" not in info:
        return obs
    x, y = (int(value) for value in info["pointer"])
    return {**obs, "pov": draw_cursor(obs["pov"].copy(), x, y)}


class RecordingWriter(contextlib.AbstractContextManager["RecordingWriter"]):
    """A recording in the making: it lies in a hidden folder until `finish` gives its files their names; without, nothing is left.

    Attributes:
        prefix: its path without an ending.
        ticks: how many it has.
    """

    def __init__(self, prefix: str | os.PathLike[str]) -> None:
        self.prefix, self.ticks = Path(prefix), 0
        self._scratch, self._files = contextlib.ExitStack(), contextlib.ExitStack()
        self._folder = self._scratch.enter_context(scratch_dir(self.prefix))
        self._tick_writer = TickWriter()
        self._video: VideoWriter | None = None

    @uninterrupted()
    def add(self, obs: Observation, info: Info, action: Action, who: str = "") -> None:
        """One tick: what was seen, and the action with whole-pixel camera moves that was taken on it."""
        if self._video is None:
            height, width = obs["pov"].shape[:2]
            lines = open(self._folder / "ticks.jsonl", "w")  # noqa: SIM115  (the stack closes it)
            self._lines = self._files.enter_context(lines)
            self._video = self._files.enter_context(VideoWriter(self._folder / "video.mp4", width, height))
        self._video.write(obs["pov"])
        self._lines.write(json.dumps(self._tick_writer.tick(self.ticks, obs, info, action, who)) + "\n")
        self.ticks += 1

    @uninterrupted()
    def finish(self, options: dict[str, Any]) -> None:
        """Write the options, and give the files their names, the video last."""
        self._files.close()
        write_json(self._folder / "options.json", options)
        for name, end in zip(("options.json", "ticks.jsonl", "video.mp4"), _ENDINGS):
            rename(self._folder / name, Path(f"{self.prefix}{end}"))

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._scratch:
            self._files.__exit__(kind, fault, trace)


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
            "Files of this name exist already, but they are not a whole recording.",
            where=prefix.parent,
            got=found,
            todo=todo,
        )
    return False


def record(
    env: Env, player: Actor, steps: int, prefix: str | os.PathLike[str], *, behaviour: str,
    reset_options: dict[str, Any], judge: Judge, captions: Sequence[str] = (), unit: str = "", seed: int = 0,
    only_successful: bool = False, details: dict[str, Any] | None = None, keep_cut_off: bool = False,
) -> Recorded:  # fmt: skip
    """Play one episode and write its recording under `prefix`, whole or not at all.

    Args:
        reset_options: given to `env.reset` (start, yaw, pitch, inventory, watch ...), and kept in the options file.
        judge: says of the finished episode whether it did the thing, and how far it got (in `unit`): the task's own rule.
        captions: what the behaviour is called in words; kept in the options file.
        only_successful: drop the recording of an episode that fails.
        details: more entries for the options file.
        keep_cut_off: an episode that Ctrl-C or a dead game ends is kept up to there, if it is long enough: a person does not play it again.

    Raises:
        GameDied: without `keep_cut_off` nothing is left behind; the same call can be made again with a fresh game and player.
    """
    target = Path(prefix)
    options = {
        "format": FORMAT, "env": "luanti", "behaviour": behaviour, "captions": list(captions), "seed": seed, "unit": unit, "reset": reset_options, **(details or {}),
    }  # fmt: skip
    env.draw_pointer = False  # conversion draws it, as for any recording
    try:
        with RecordingWriter(target) as writer:
            try:
                trace = play(_Recorder(player, writer), env, steps, seed=seed, options=reset_options)
            except CUT_OFF:
                if keep_cut_off and writer.ticks >= _FEWEST:
                    writer.finish({**options, "steps": writer.ticks, "success": None, "value": None})
                raise
            success, value = judge(trace)
            kept = success or not only_successful
            if kept:
                writer.finish({**options, "steps": len(trace), "success": success, "value": round(value, 3)})
        return Recorded(target, len(trace), value, success, kept)
    finally:
        env.draw_pointer = True


class _Recorder(Actor):
    """An actor that acts as `player` does, with whole mouse pixels, and writes down what it sees and does."""

    def __init__(self, player: Actor, writer: RecordingWriter) -> None:
        self._player, self._writer = player, writer

    def reset(self, obs: Observation, info: Info) -> None:
        self._player.reset(obs, info)

    def act(self, obs: Observation, info: Info) -> Action:
        action = whole_pixels(self._player.act(with_pointer(obs, info), info))
        self._writer.add(obs, info, action, self._player.who)
        return action


def demonstration(
    behaviour: Behaviour, seed: int, episode: int, attempt: int = 0, *, split: str = "demo", first_place: int = 0
) -> tuple[dict[str, Any], int, Player]:
    """(reset options, seed, player) of one demonstration: a function of its arguments.

    Start states are used in a shuffled order, each once before any is used again. Yaw is free on a plain and faces roughly
    the trunk or the water elsewhere; the first pitch is anywhere within ±70 degrees. `first_place` leaves out the split's
    first start states.
    """
    starts = start_states("luanti", behaviour.biome, split)[first_place:]
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


def free_prefix(folder: Path, name: str) -> Path:
    """The path `<name>-<number>` after the highest number in the folder."""
    numbers = (file.stem.rpartition("-")[2] for file in folder.glob(f"{glob.escape(name)}-[0-9]*.mp4"))
    highest = max((int(number) for number in numbers if number.isdigit()), default=-1)
    return folder / f"{name}-{highest + 1:04d}"


def check_steps(steps: int) -> None:
    """Refuse episodes that are too short to hold a goal."""
    if steps < _FEWEST:
        raise UserError(
            "Recordings this short hold no goal.", got=f"{steps} steps", expected="at least 32", todo="--steps 300"
        )
