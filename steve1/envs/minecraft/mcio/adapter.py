"""MCio behind the worker protocol: one Minecraft, one tick a step. Needs mcio-ctrl.

Each episode begins in a pristine copy of its world at the same place, with its inventory, time and view. Minecraft is restarted only
if an earlier episode has touched that place.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from mcio_ctrl import controller, instance, network, types
from mcio_ctrl.envs.env_util import DegreesToPixels, InputStateManager
from mcio_ctrl.envs.minerl_env import INPUT_MAP

from steve1.envs.minecraft.mcio.adapter_reading import Reader, gui_open, inventory, short, wrap
from steve1.envs.minecraft.mcio.adapter_worlds import Worlds
from steve1.envs.worker.serve import Action, BadInput, Game, GameFault, Info, Observation, Step, report

TICKS_OF_A_DAY, PATIENCE_TICKS = 24_000, 200
FAR = 400.0  # blocks: nothing that an episode changes is seen from so far
# In menus a degree moves the pointer by what a recorder's mouse does on 720 rows.
MENU_PIXELS_PER_DEGREE = 2400 / 360 / 720
HOTBAR, STACK = 9, 64


class Minecraft:
    """A running Minecraft and the connection to it."""

    def __init__(self, settings: dict[str, Any], world: str) -> None:
        self.settings = settings
        action, observation = settings["ports"]
        options = types.RunOptions(
            mcio_dir=settings["mcio_dir"], instance_name=settings["instance_name"], world_name=world, mcio_mode=types.MCioMode.SYNC,
            width=settings["width"], height=settings["height"], hide_window=not settings.get("window"), gpu_lib=settings.get("gpu"),
            action_port=action, observation_port=observation, java_path=settings.get("java"), cleanup_on_signal=False,
        )  # fmt: skip
        self.launcher = instance.Launcher(options)
        self.launcher.launch(wait=False)
        self.pid = self.launcher._process.pid if self.launcher._process else -1
        report("waiting for Minecraft to load its world")
        self.link = controller.ControllerSync(action_port=action, observation_port=observation)
        self.packet = network.ObservationPacket(sequence=-1)

    def tick(self, packet: network.ActionPacket | None = None) -> network.ObservationPacket:
        """Send an action, wait for the observation that follows it.

        Raises:
            GameFault: what came is not an observation, or an old one.
        """
        packet = packet or network.ActionPacket()
        self.link.send_action(packet)
        seen = self.link.recv_observation()
        if not seen.frame:
            raise GameFault("a torn packet from the mod, or one of another version of its protocol")
        if seen.sequence <= self.packet.sequence or seen.last_action_sequence > packet.sequence:
            raise GameFault(
                f"observation {seen.sequence} after {self.packet.sequence}, for action {seen.last_action_sequence}"
            )
        shape = (seen.frame_height, seen.frame_width)
        if shape != (self.settings["height"], self.settings["width"]) or len(seen.frame) != 3 * shape[0] * shape[1]:
            raise GameFault(f"a picture of {shape[1]}x{shape[0]} in {len(seen.frame)} bytes")
        self.packet = seen
        return seen

    def close(self) -> None:
        """Ask Minecraft to stop, then end it."""
        if self.launcher.poll() is None:
            self.link.send_stop()
        self.link.close()
        self.launcher.close()


class McioGame(Game):
    """One Minecraft under MCio."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.worlds = Worlds(settings["mcio_dir"], settings["instance_name"])
        self.worlds.sweep()
        self.worlds.write_options()
        self.facts = {"game": self.worlds.version, "package": version("mcio-ctrl"), "mcio_dir": settings["mcio_dir"]}
        self.game: Minecraft | None = None
        self.reader, self.keys, self.pointer = Reader(), InputStateManager(), DegreesToPixels()
        self._world: tuple[int, str] | None = None
        self._touched: list[tuple[float, float]] = []
        self._spawn_touched = False
        self._window: Any = None

    def pids(self) -> list[int]:
        return [self.game.pid] if self.game is not None else []

    # ---- reset ----

    def reset(self, seed: int, options: dict[str, Any]) -> tuple[Observation, Info]:
        start = dict(options.get("start") or {})
        biome = start.get("biome") or options.get("biome") or self.settings["biome"]
        world = (int(start.get("world", seed)) % (1 << 63), str(biome))
        place = (float(start["x"]), float(start["z"])) if "x" in start and "z" in start else None
        if self.game is None or world != self._world or not self._untouched(place):
            self._launch(world)
        self._spawn_touched = self._spawn_touched or place is None
        self._touched += [place] if place is not None else []
        self._prepare(start, options, place)
        if self._window is not None:
            self._window.done = False  # F10 ended the last episode
        assert self.game is not None, "_launch made it"
        self.reader.begin()
        obs, info = self.reader.observation(self.game.packet)
        return obs, {**info, "world": world[0], "start": start or {"world": world[0], "biome": world[1]}}

    def _untouched(self, place: tuple[float, float] | None) -> bool:
        if place is None:
            return not self._spawn_touched
        return all(max(abs(place[0] - x), abs(place[1] - z)) > FAR for x, z in self._touched)

    def _launch(self, world: tuple[int, str]) -> None:
        self._stop()
        name = self.worlds.fresh(*world)
        report("starting Minecraft")
        self.game = Minecraft(self.settings, name)
        self.reader, self.keys, self.pointer = Reader(), InputStateManager(), DegreesToPixels()
        self._world, self._touched, self._spawn_touched = world, [], False
        self._tick(network.ActionPacket(clear_input=True))
        report("")

    def _tick(self, packet: network.ActionPacket | None = None) -> network.ObservationPacket:
        assert self.game is not None, "reset comes first"
        seen = self.game.tick(packet)
        self.reader.hear(seen)
        # Where the player has been, one point for each stretch of a hundred blocks.
        x, _, z = seen.player_pos
        if not gui_open(seen) and all(max(abs(x - a), abs(z - b)) >= 100 for a, b in self._touched[-20:]):
            self._touched.append((float(x), float(z)))
        return seen

    def _prepare(self, start: dict[str, Any], options: dict[str, Any], place: tuple[float, float] | None) -> None:
        """Bring player and world to the episode's beginning, and wait until they are there."""
        items = {short(str(name)): int(count) for name, count in (options.get("inventory") or {}).items()}
        yaw, pitch = (float(options.get(name, start.get(name, 0.0))) for name in ("yaw", "pitch"))
        release = network.ActionPacket(clear_input=True, commands=commands(items, options, place, start))
        self.keys, self.pointer = InputStateManager(), DegreesToPixels()
        self._tick(release)
        for _ in range(3):
            if self.game is not None and gui_open(self.game.packet):
                self._tap("inventory")
        self._tick(network.ActionPacket(commands=[f"execute as @a at @s run tp @s ~ ~ ~ {yaw:.3f} {pitch:.3f}"]))
        for _ in range(PATIENCE_TICKS):
            packet = self._tick()
            turned = abs(wrap(packet.player_yaw - yaw)) < 1.0 and abs(packet.player_pitch - pitch) < 1.0
            if inventory(packet) == items and turned and packet.health > 0:
                break
        else:
            self._never_ready(items, packet)
        self._tap("hotbar.1")
        for _ in range(int(self.settings.get("settle", 40))):
            packet = self._tick()
        self.pointer.set(*packet.cursor_pos)

    def _never_ready(self, items: dict[str, int], packet: network.ObservationPacket) -> None:
        unknown = sorted(set(items) - set(inventory(packet)))
        if unknown and packet.health > 0:
            expected = "ids as in Minecraft, such as oak_log"
            raise BadInput("This Minecraft does not give that item.", got=", ".join(unknown), expected=expected)
        got = f"{inventory(packet)} instead of {items}"
        raise GameFault(f"the episode's start was not reached in {PATIENCE_TICKS} ticks: {got}")

    def _tap(self, name: str) -> None:
        for action in (types.GlfwAction.PRESS, types.GlfwAction.RELEASE):
            self._tick(network.ActionPacket(inputs=[types.InputEvent.from_id(INPUT_MAP[name], action)]))

    # ---- step ----

    def step(self, action: Action) -> Step:
        if self.game is None:
            raise GameFault("reset comes first")
        pitch, yaw = action["camera"]
        opening = bool(action["inventory"]) and INPUT_MAP["inventory"] not in self.keys.pressed_set
        packet = network.ActionPacket(inputs=self.keys.process_action(action, INPUT_MAP))
        if (pitch or yaw) and not opening:  # a menu opens or closes within this tick: motion would go to the wrong one
            packet.cursor_pos = [self._move(float(pitch), float(yaw))]
        seen = self._tick(packet)
        for slot in range(HOTBAR):
            if action[f"hotbar.{slot + 1}"] and not gui_open(seen):
                self.reader.slot = slot
        self.pointer.set(*seen.cursor_pos)
        obs, info = self.reader.observation(seen)
        return obs, 0.0, bool(seen.health <= 0), self._window is not None and self._window.done, info

    def _move(self, pitch: float, yaw: float) -> tuple[float, float]:
        """The pointer's next place; in menus it moves as far as it did for those who recorded the data."""
        assert self.game is not None, "step has looked"
        scale = 1.0
        if gui_open(self.game.packet):
            scale = MENU_PIXELS_PER_DEGREE * self.settings["height"] / DegreesToPixels.PIXELS_PER_DEGREE
        return self.pointer.update(pitch_delta=pitch * scale, yaw_delta=yaw * scale)

    # ---- the rest ----

    def call(self, name: str, arguments: dict[str, Any]) -> Any:
        """`commands`: run server commands, then let a few ticks pass. `human`: what a human does in the next tick (see adapter_window)."""
        if name == "commands" and self.game is not None:
            self._tick(network.ActionPacket(commands=[str(each).lstrip("/") for each in arguments["commands"]]))
            for _ in range(int(arguments.get("ticks", 20))):
                self._tick()
            return None
        if name == "human" and self.game is not None:
            from steve1.envs.minecraft.mcio.adapter_window import Window  # needs a display

            self._window = self._window or Window(self.settings)
            return self._window.tick(self.game.packet, MENU_PIXELS_PER_DEGREE)
        return super().call(name, arguments)

    def _stop(self) -> None:
        game, self.game = self.game, None
        if game is not None:
            game.close()

    def close(self) -> None:
        if self._window is not None:
            self._window.close()
        self._stop()
        self.worlds.remove_own()


def commands(
    items: dict[str, int], options: dict[str, Any], place: tuple[float, float] | None, start: dict[str, Any]
) -> list[str]:
    """Server commands that make an episode's beginning, without the view."""
    clock = int((float(options.get("time_of_day", 0.5)) * TICKS_OF_A_DAY - 6000) % TICKS_OF_A_DAY)
    lines = [
        "gamemode survival @a", "clear @a", "effect clear @a", "xp set @a 0 levels", "xp set @a 0 points", "weather clear 1000000",
        f"time set {clock}", "effect give @a minecraft:instant_health 1 20 true", "effect give @a minecraft:saturation 1 20 true",
    ]  # fmt: skip
    if place is not None and "y" in start:
        lines.append(f"tp @a {place[0]:.2f} {float(start['y']):.2f} {place[1]:.2f}")
    elif place is not None:
        lines.append(f"spreadplayers {place[0]:.2f} {place[1]:.2f} 0 1 false @a")
    slot = 0
    for name, count in items.items():
        while count > 0:
            where = f"hotbar.{slot}" if slot < HOTBAR else f"inventory.{slot - HOTBAR}"
            lines.append(f"item replace entity @a {where} with minecraft:{name} {min(count, STACK)}")
            count, slot = count - STACK, slot + 1
    return lines + [str(each).lstrip("/") for each in options.get("commands") or []]


make_env = McioGame
