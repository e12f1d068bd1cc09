"""Luanti (Minetest Game) as a step-locked environment: one 50 ms tick per step.

An instance is a private X server and a game with the shim preloaded; the mod in mod/ does resets and reports.
"""

from __future__ import annotations

import logging
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

from steve1.core.errors import UserError
from steve1.core.frames import draw_cursor
from steve1.core.seeds import generator
from steve1.envs.interface import Action, Env, GameDied, Info, Observation, action_space, check_action, wrap
from steve1.envs.luanti.game_process import GameProcess
from steve1.envs.luanti.items import game_name, short_counts, short_name
from steve1.envs.luanti.links import Event, Link, ShimLink
from steve1.envs.luanti.mods import link_mods
from steve1.envs.luanti.portable import PortableLink
from steve1.envs.luanti.shared import BUTTON_PRESS, BUTTON_RELEASE, KEY_PRESS, KEY_RELEASE
from steve1.envs.luanti.shim import PACKAGES, SUPPORTED, find_program, game_version
from steve1.envs.starts import MAP_SEED, start_states

HERE = Path(__file__).parent
KEYS = {  # X key codes of a US keyboard; the game's own bindings (sprint is its "special" key)
    "forward": 25, "left": 38, "back": 39, "right": 40, "jump": 65, "sneak": 50, "sprint": 26, "drop": 24,
    "inventory": 31, **{f"hotbar.{slot}": 9 + slot for slot in range(1, 9)},
}  # fmt: skip
MOUSE = {"attack": 1, "use": 3}
_ESCAPE = 9
# The game scales mouse look by the field of view: 70 degrees here.
_FIELD_OF_VIEW_SCALE = float(np.tan(np.radians(70 / 2))) * 1.3763819
_log = logging.getLogger(__name__)
BACKENDS = ("auto", "shim", "portable")
PITCH_LIMIT = 89.5
_MENU_PIXELS_PER_DEGREE = 2400 / 360 / 720  # of the frame's height: a recorder's mouse works on 1280x720
_OPTIONS = ("start", "biome", "split", "inventory", "time_of_day", "yaw", "pitch", "watch", "scene")


def scene_nodes(nodes: list[dict[str, Any]], start: dict[str, Any], yaw: float) -> list[dict[str, Any]]:
    """A scene's nodes at positions of the map: "ahead" is along the axis nearest to `yaw`, "right" to the right of it."""
    quarter = round(yaw / 90) % 4
    (fx, fz), (rx, rz) = ((0, 1), (1, 0), (0, -1), (-1, 0))[quarter], ((1, 0), (0, -1), (-1, 0), (0, 1))[quarter]
    placed = []
    for node in nodes:
        unknown = sorted(set(node) - {"node", "ahead", "right", "up", "param2"})
        if unknown or not isinstance(node.get("node"), str):
            expected = "node, and optionally ahead, right, up, param2"
            raise UserError("A scene's entry is not understood.", got=node, expected=expected)
        ahead, right = int(node.get("ahead", 0)), int(node.get("right", 0))
        x, z = round(start["x"]) + fx * ahead + rx * right, round(start["z"]) + fz * ahead + rz * right
        more = {name: int(node.get(name, 0)) for name in ("up", "param2")}
        placed.append({"name": game_name(node["node"]), "x": x, "z": z, **more})
    return placed


def _standing(blocks: list[list[Any]] | None) -> list[list[Any]]:
    return [[int(x), int(y), int(z), short_name(name)] for x, y, z, name in blocks or []]


class LuantiEnv(Env):
    """See `Env`. `watch` in the reset's options ({name: {"nodes": [...], "r": 8, "low": -2, "high": 3}}) makes the
    game list such nodes around the player in info["near"]: what scripted players see with. `scene` in the reset's options
    ([{"node": "mesecons_lamp:lamp_off", "ahead": 3, "right": 0, "up": 0}]) puts nodes onto the ground in front of the
    player (in whole nodes along the axis nearest to the first view). info["built"] and info["scene"] list what stands
    now where the player or the scene put something: [x, y, z, short name]; a lamp that was lit has another name.

    Args:
        biome: "meadow", "forest" or "shore" when a reset names none.
        split: which of the kept start states a reset draws from.
        instance: only a label for messages; every instance finds its own display, port and folder.
        timeout_s: longest wait for one try to start, for a reset, and for one step.
        settings: more lines for the game's configuration.
        backend: "shim" (lock-step, fast), "portable" (any release, slow), or "auto": the shim where it fits.
        frames_per_step: pictures that the game draws in a step's 50 ms: 3 makes 60 a second. A turn is spread over them, buttons are held.

    Attributes:
        between: those of the last step's pictures, u8 (H, W, 3), that came before the one which it returned.
    """

    def __init__(
        self, *, biome: str = "meadow", split: str = "eval", width: int = 640, height: int = 360,
        instance: int = 0, timeout_s: float = 60.0, settings: dict[str, Any] | None = None, backend: str = "auto", frames_per_step: int = 1,
    ) -> None:  # fmt: skip
        self.biome, self.split, self.instance = biome, split, instance
        self.width, self.height = width, height
        self.action_space = action_space()
        self._settings, self.timeout_s = settings or {}, timeout_s
        self._program = find_program("luanti", "minetest", package=PACKAGES)
        xvfb = find_program("Xvfb", package="xvfb")
        self._process = GameProcess(xvfb=xvfb, width=width, height=height, timeout_s=timeout_s)
        if backend not in BACKENDS:
            raise UserError("Unknown way to drive the game.", got=backend, expected=", ".join(BACKENDS))
        if backend == "auto":
            backend = "shim" if game_version(self._program) in SUPPORTED else "portable"
        if frames_per_step < 1 or (frames_per_step > 1 and backend != "shim"):
            expected = "1 or more with the shim, 1 with the portable way"
            raise UserError("This many pictures a step cannot be drawn.", expected=expected, got=frames_per_step)
        self.backend, self.frames_per_step = backend, frames_per_step
        self.between: list[np.ndarray] = []
        self._link: Link | None = None
        self._command = 0
        self._start_game()

    # ---- start and shutdown ----

    def _configure(self, folder: Path, link: Link) -> list[str]:
        world = folder / "world"
        (world / "worldmods").mkdir(parents=True)
        (folder / "home").mkdir()
        shutil.copytree(HERE / "mod", world / "worldmods" / "steve_bridge")
        link_mods(world / "worldmods")
        shutil.copy(HERE / "world.mt", world / "world.mt")
        own = {
            "screen_w": self.width, "screen_h": self.height, "fixed_map_seed": MAP_SEED,
            "mouse_sensitivity": link.sensitivity, "dedicated_server_step": 0.04 / self.frames_per_step, **self._settings,
        }  # fmt: skip
        text = (HERE / "base.conf").read_text() + "".join(f"{key} = {value}\n" for key, value in own.items())
        (folder / "game.conf").write_text(text)
        return [
            self._program, "--config", str(folder / "game.conf"), "--go", "--world", str(world), "--gameid",
            "minetest_game", "--logfile", str(folder / "game.log"),
        ]  # fmt: skip

    def _start_game(self) -> None:
        """Start and join; a start that hangs (one in some 150 on a busy machine) is tried once more."""
        try:
            self._start_once()
        except GameDied as fault:
            _log.warning("the game did not start (%s); trying once more", fault.got)
            self._start_once()

    def _start_once(self) -> None:
        folder = self._process.open_folder()
        try:
            if self.backend == "shim":
                link: Link = ShimLink(self._process, self.width, self.height, 50_000 // self.frames_per_step)
            else:
                link = PortableLink(self._process, self.width, self.height)
            self._link = link
            self._degrees_per_pixel = link.sensitivity * _FIELD_OF_VIEW_SCALE
            environment = {"HOME": str(folder / "home"), **link.environment()}
            self._process.start(self._configure(folder, link), environment, link.xvfb_arguments)
            link.join(self.timeout_s)
            self._forget()
            for _ in range(100 if self.backend == "shim" else 10):
                self._pass(link)  # a new game's sky brightens slowly; the first episode should look like the others
        except BaseException:
            self.close()
            raise

    def _forget(self) -> None:
        self._down: set[str] = set()
        self._residue = np.zeros(2)
        self._pitch = self._yaw = 0.0
        self._still = 0
        self._steps = 0
        self._start: dict[str, Any] = {}
        self._state: dict[str, Any] = {}
        self._near: dict[str, Any] = {}

    def restart(self) -> None:
        self.close()
        self._start_game()

    def close(self) -> None:
        link, self._link = self._link, None
        try:
            if link is not None:
                link.close()
        finally:
            self._process.close()

    @property
    def pids(self) -> tuple[int, int]:
        """Process ids of the game and its X server."""
        self._live()
        assert self._process.game is not None
        assert self._process.xserver is not None
        return self._process.game.pid, self._process.xserver.pid

    def _live(self) -> Link:
        if self._link is None or self._process.control is None:
            raise GameDied("This environment's game is closed.", todo="restart() starts a new one")
        return self._link

    # ---- talking to the mod ----

    def command(self, op: str, **arguments: Any) -> dict[str, Any]:
        """Have the mod carry out `op` and let time pass until it is done; returns the state then."""
        link = self._live()
        self._command += 1
        link.send({**arguments, "op": op, "id": self._command})
        limit = time.monotonic() + self.timeout_s
        while True:
            self._pass(link)
            state = link.state()
            if state.get("done") == self._command:
                break
            if time.monotonic() > limit:
                raise self._process.died(f"'{op}' was not done within {self.timeout_s:g} s")
        if state.get("problem"):
            raise self._process.died(f"'{op}' failed in the mod: {state['problem']}")
        return state

    # ---- the Gymnasium side ----

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, Info]:
        link = self._live()
        options = dict(options or {})
        unknown = sorted(set(options) - set(_OPTIONS))
        if unknown:
            raise UserError("Unknown option of reset.", got=unknown[0], expected=", ".join(_OPTIONS))
        seed = int(seed or 0)
        start = options.get("start")
        if start is None:
            starts = start_states("luanti", options.get("biome", self.biome), options.get("split", self.split))
            start = starts[int(generator(seed, "luanti start").integers(len(starts)))]
        yaw, pitch = (float(options.get(name, start.get(name, 0.0))) for name in ("yaw", "pitch"))
        scene = options.get("scene") or []
        if scene and "yaw" not in options:
            yaw = wrap(90.0 * round(yaw / 90))  # straight at what stands in front
        items = [f"{game_name(name)} {int(count)}" for name, count in (options.get("inventory") or {}).items()]
        self._release(link)
        self._forget()
        self.command("watch", groups=options.get("watch") or {})
        self.command(
            "reset", x=start["x"], y=start["y"], z=start["z"], yaw=yaw, pitch=pitch, items=items, seed=seed,
            time=float(options.get("time_of_day", 0.5)), regenerate=True, scene=scene_nodes(scene, start, yaw),
        )  # fmt: skip
        self._settle(link)
        # Walking keys are up, but a slot chosen in the last episode stays chosen: begin at the first.
        self._tap(link, KEYS["hotbar.1"])
        self._yaw, self._pitch, self._start = yaw, float(np.clip(pitch, -PITCH_LIMIT, PITCH_LIMIT)), dict(start)
        return self._observe(link)

    def _pass(self, link: Link, events: list[Event] | None = None, dx: int = 0, dy: int = 0) -> None:
        """Let 50 ms of game time pass with this input."""
        parts, self.between = self.frames_per_step, []
        for part in range(parts):
            if part:
                self.between.append(link.frame())
            x, y = (whole * (part + 1) // parts - whole * part // parts for whole in (dx, dy))
            link.tick([] if part else events, x, y)

    def _tap(self, link: Link, key: int) -> None:
        for event in (KEY_PRESS, KEY_RELEASE):
            self._pass(link, [(event, key)])
            self._pass(link)

    def _release(self, link: Link) -> None:
        self._pass(link, self._events(set()))
        for _ in range(3):
            if not link.menu_open:
                return
            self._tap(link, _ESCAPE)

    def _settle(self, link: Link) -> None:
        """Let the player land, the chunks arrive and the sky's brightness adapt: until the picture stays the same."""
        pictures: list[np.ndarray] = []
        for _ in range(80):
            self._pass(link)
            time.sleep(0.004)  # the threads that build meshes work in real time
            pictures.append(link.frame()[::6, ::6].astype(np.int16))
            if len(pictures) > 12 and np.abs(pictures[-1] - pictures[-7]).mean() < 0.4:
                return

    def step(self, action: Action) -> tuple[Observation, float, bool, bool, Info]:
        link = self._live()
        pressed, pitch, yaw = check_action(action)
        if "inventory" in pressed - self._down:
            pitch = yaw = 0.0  # the menu opens or closes within this tick: motion would go to the wrong one
            self._residue[:] = 0.0
        self._pass(link, self._events(pressed), *self._pointer_motion(link, pitch, yaw))
        self._steps += 1
        observation, info = self._observe(link)
        return observation, 0.0, info["deaths"] > 0, False, info

    def _events(self, pressed: set[str]) -> list[Event]:
        """What makes exactly these buttons pressed, releases first."""
        wanted = {name for name in pressed if name in KEYS or name in MOUSE}  # ESC, pickItem, swapHands, slot 9: none
        up, down = sorted(self._down - wanted), sorted(wanted - self._down)
        self._down = wanted
        released = [(KEY_RELEASE, KEYS[name]) if name in KEYS else (BUTTON_RELEASE, MOUSE[name]) for name in up]
        return released + [(KEY_PRESS, KEYS[name]) if name in KEYS else (BUTTON_PRESS, MOUSE[name]) for name in down]

    def _pointer_motion(self, link: Link, pitch: float, yaw: float) -> tuple[int, int]:
        turn, in_menu = np.array([pitch, yaw]), _MENU_PIXELS_PER_DEGREE * self.height
        self._residue += turn * in_menu if link.menu_open else turn / self._degrees_per_pixel
        whole = np.rint(self._residue)
        self._residue -= whole
        dy, dx = int(whole[0]), int(whole[1])
        if not link.menu_open:
            self._yaw = wrap(self._yaw + dx * self._degrees_per_pixel)
            self._pitch = float(np.clip(self._pitch + dy * self._degrees_per_pixel, -PITCH_LIMIT, PITCH_LIMIT))
        self._still = 0 if dx or dy else self._still + 1
        return dx, dy

    def _observe(self, link: Link) -> tuple[Observation, Info]:
        state = self._state = link.state() or self._state
        self._near = state.get("near") or self._near
        if self._still > 8 and abs(wrap(state["yaw"] - self._yaw)) + abs(state["pitch"] - self._pitch) > 0.5:
            # The server's view lags by up to three ticks, but after a rest it is right, whatever a menu swallowed.
            self._yaw, self._pitch = wrap(state["yaw"]), state["pitch"]
        frame, gui, pointer = link.frame(), link.menu_open, link.pointer
        if gui and self.draw_pointer:
            draw_cursor(frame, *pointer)
        x, y, z = state["pos"]
        location = {
            "xpos": x, "ypos": y, "zpos": z, "yaw": self._yaw, "pitch": self._pitch, "light_level": state["light"],
        }  # fmt: skip
        observation = {
            "pov": frame, "inventory": short_counts(state["items"]), "location_stats": location, "is_gui_open": gui,
            "hotbar": int(state["slot"]),
        }  # fmt: skip
        info = {
            "dug": short_counts(state["dug"]), "placed": short_counts(state["placed"]),
            "crafted": short_counts(state["crafted"]), "in_water": bool(state["wet"]), "health": state["hp"],
            "air": state["breath"], "deaths": state["deaths"], "velocity": state["velocity"],
            "pointed": state["pointed"],
            "built": _standing(state.get("built")), "scene": _standing(state.get("scene")), "under_water": bool(state["under"]),
            "wielded": state["wielded"], "near": self._near, "start": self._start, "step": self._steps,
            "pointer": pointer, "game_tick": state["tick"], "server_yaw": wrap(state["yaw"]),
            "server_pitch": state["pitch"], "instance": self.instance,
        }  # fmt: skip
        return observation, info
