"""A stand-in of Minecraft with the MCio mod: started in Java's place, in a process of its own, it speaks the mod's real wire protocol.

Its packets are made and read by mcio-ctrl's own classes, on the ports that the launcher hands over. With `server.jar` among its
arguments it is the server that makes worlds. $MCIO_STAND_IN names a JSON file: {"fault", "at" (the step at which it strikes, counted
from a reset's commands), "once" (a file: strikes in the first process that can make it), "log" (a file for what was started)}.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import glfw
import numpy as np
import zmq
from mcio_ctrl import network, types
from nbt import nbt

HOUR = 3600.0
ITEMS = ("dirt", "oak_log", "cobblestone", "wheat_seeds", "stone_pickaxe")
FAULTS = ("hang_start", "hang_reset", "hang_step", "dead", "early", "small", "torn", "old", "version", "grows")


def plan() -> dict[str, Any]:
    path = os.environ.get("MCIO_STAND_IN", "")
    return json.loads(Path(path).read_text()) if path else {}


def log(facts: dict[str, Any]) -> None:
    if plan().get("log"):
        with open(plan()["log"], "a") as handle:
            handle.write(json.dumps(facts) + "\n")


def strikes(fault: str) -> bool:
    """Whether this fault is planned, and not used up by an earlier process."""
    known = plan()
    if known.get("fault") != fault:
        return False
    mine = f"{known.get('once', '')}.{os.getpid()}"
    if not known.get("once") or os.path.exists(mine):
        return True
    try:
        os.close(os.open(known["once"], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    Path(mine).touch()
    return True


def serve_world() -> None:
    """The server's part: make a world as its properties say, wait for "stop"."""
    lines = (line.partition("=") for line in Path("server.properties").read_text().splitlines())
    properties = {name: value for name, _, value in lines}
    seed = int(properties["level-seed"]) + (1 if strikes("late_seed") else 0)
    folder = Path(properties["level-name"])
    folder.mkdir()
    root = nbt.NBTFile()
    data, rules, generator = nbt.TAG_Compound(), nbt.TAG_Compound(), nbt.TAG_Compound()
    data.name, rules.name, generator.name = "Data", "GameRules", "WorldGenSettings"
    rules.tags += [nbt.TAG_String("false", "doImmediateRespawn"), nbt.TAG_String("true", "sendCommandFeedback")]
    generator.tags.append(nbt.TAG_Long(seed, "seed"))
    data.tags += [nbt.TAG_Byte(0, "allowCommands"), rules, generator]
    root.tags.append(data)
    root.write_file(str(folder / "level.dat"))
    log({"role": "server", "seed": seed, "type": properties.get("level-type", "")})
    while sys.stdin.readline().strip() != "stop":
        pass


class World:
    """A flat world of dirt: digging below oneself gains dirt, walking moves, the inventory key opens a menu."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.x = self.z = self.yaw = self.pitch = 0.0
        self.cursor = (0.0, 0.0)
        self.slots: dict[int, tuple[str, int]] = {}
        self.gui, self.health, self.dug = False, 20.0, 0
        self.down: set[tuple[int, int]] = set()
        self.stats: dict[tuple[str, str], int] = {("minecraft:mined", "minecraft:dirt"): 7}
        self.changed = set(self.stats)

    def count(self, category: str, name: str) -> None:
        key = ("minecraft:" + category, "minecraft:" + name)
        self.stats[key] = self.stats.get(key, 0) + 1
        self.changed.add(key)

    def take(self, action: network.ActionPacket) -> None:
        if action.clear_input:
            self.down.clear()
        for command in action.commands:
            self.command(command)
        for event in action.inputs:
            key = (int(event.type), int(event.code))
            if event.action == types.GlfwAction.PRESS:
                self.down.add(key)
                if key == (0, glfw.KEY_E):
                    self.gui = not self.gui
            else:
                self.down.discard(key)
        for x, y in action.cursor_pos:
            if not self.gui:
                self.yaw += (x - self.cursor[0]) * 0.15
                self.pitch = max(-90.0, min(90.0, self.pitch + (y - self.cursor[1]) * 0.15))
            self.cursor = (x, y)
        if not self.gui:
            self.live()

    def live(self) -> None:
        if (0, glfw.KEY_W) in self.down:
            self.x -= 0.2 * math.sin(math.radians(self.yaw))
            self.z += 0.2 * math.cos(math.radians(self.yaw))
        if (1, glfw.MOUSE_BUTTON_LEFT) in self.down:
            self.dug += 1
            if self.dug % 5 == 0:
                self.count("mined", "dirt")
                self.count("picked_up", "dirt")
                name, number = self.slots.get(0, ("dirt", 0))
                self.slots[0 if name == "dirt" else 30] = (
                    "dirt",
                    (number if name == "dirt" else self.slots.get(30, ("", 0))[1]) + 1,
                )

    def command(self, line: str) -> None:
        words = line.split()
        if words[0] == "clear":
            self.slots.clear()
        elif words[0] == "item":
            place, _, number = words[4].partition(".")
            name = words[6].partition(":")[2]
            if name in ITEMS:
                self.slots[int(number) + (0 if place == "hotbar" else 9)] = (name, int(words[7]))
        elif words[0] == "spreadplayers":
            self.x, self.z = float(words[1]), float(words[2])
        elif re.match(r"execute as @a at @s run tp @s ~ ~ ~ ", line):
            self.yaw, self.pitch = float(words[-2]), float(words[-1])

    def picture(self, width: int, height: int) -> bytes:
        """Sky above the horizon, ground below it, in the shade of the heading; rows from the bottom, as OpenGL has them."""
        frame = np.zeros((height, width, 3), np.uint8)
        horizon = int(np.clip(height * (0.5 - self.pitch / 90), 0, height))
        frame[:horizon], frame[horizon:] = (120, 160, 255), (60, 130, 50)
        frame[:, :, 2] ^= np.uint8(int(abs(self.yaw)) % 64)
        return np.flipud(frame).tobytes()

    def packet(self, sequence: int, action: int) -> network.ObservationPacket:
        categories: dict[str, list[types.Stat]] = {}
        for category, name in sorted(self.changed):
            categories.setdefault(category, []).append(types.Stat(name, self.stats[(category, name)]))
        listed = [types.StatCategory(category, stats) for category, stats in categories.items()]
        self.changed = set()
        return network.ObservationPacket(
            sequence=sequence, mode=types.MCioMode.SYNC, last_action_sequence=action, frame_sequence=sequence,
            frame=self.picture(self.width, self.height), frame_width=self.width, frame_height=self.height,
            cursor_mode=glfw.CURSOR_NORMAL if self.gui else glfw.CURSOR_DISABLED, cursor_pos=self.cursor, health=self.health,
            player_pos=(self.x, 64.0, self.z), player_pitch=self.pitch, player_yaw=self.yaw,
            inventory_main=[types.InventorySlot(slot, "minecraft:" + name, count) for slot, (name, count) in sorted(self.slots.items())],
            options=[types.StatsFullOption(listed) if sequence == 0 else types.StatsUpdateOption(listed)],
        )  # fmt: skip


def spoil(world: World, packet: network.ObservationPacket, last: bytes) -> bytes:
    """The packet's bytes after what happens at this step."""
    if strikes("hang_step"):
        time.sleep(HOUR)
    if strikes("dead"):
        os._exit(1)
    if strikes("early"):
        world.health = packet.health = 0.0
    if strikes("small"):
        packet.frame_width, packet.frame_height, packet.frame = 320, 180, world.picture(320, 180)
    if strikes("version"):
        packet.version += 1
    if strikes("grows"):
        hoard.append(bytearray(os.urandom(1 << 20) * 60))
        time.sleep(0.05)
    data = packet.pack()
    return data[: len(data) // 2] if strikes("torn") else last if strikes("old") else data


hoard: list[bytearray] = []


def play() -> None:
    """The client's part: answer each action with one observation until told to stop."""
    arguments = sys.argv[1:]
    width, height = (int(arguments[arguments.index(name) + 1]) for name in ("--width", "--height"))
    save = Path("saves") / arguments[arguments.index("--quickPlaySingleplayer") + 1]
    level = nbt.NBTFile(str(save / "level.dat"))["Data"]
    log({
        "role": "client", "pid": os.getpid(), "world": save.name, "seed": level["WorldGenSettings"]["seed"].value, "arguments": arguments, "heap": os.environ.get("_JAVA_OPTIONS", ""),
        "cheats": level["allowCommands"].value, "options": Path("options.txt").read_text(), "mode": os.environ["MCIO_MODE"],
        "touched": (save / "touched").exists(),
    })  # fmt: skip
    (save / "touched").touch()
    if strikes("hang_start"):
        time.sleep(HOUR)
    context = zmq.Context()
    outgoing, incoming = context.socket(zmq.PUSH), context.socket(zmq.PULL)
    outgoing.bind(f"tcp://127.0.0.1:{os.environ['MCIO_OBSERVATION_PORT']}")
    incoming.bind(f"tcp://127.0.0.1:{os.environ['MCIO_ACTION_PORT']}")
    world, last, steps, sequence = World(width, height), b"", -HOUR, 0
    while True:
        action = network.ActionPacket.unpack(incoming.recv())
        assert action is not None
        if action.stop:
            return
        if any(command.startswith("clear") for command in action.commands):
            steps = -1  # counted from the first action after the reset's own ticks
            world.health = 20.0
            if strikes("hang_reset"):
                time.sleep(HOUR)
        world.take(action)
        packet = world.packet(sequence, action.sequence)
        sequence += 1
        steps += 1
        last = spoil(world, packet, last) if steps >= plan().get("at", 1) else packet.pack()
        outgoing.send(last)


if __name__ == "__main__":
    if "server.jar" in sys.argv:
        serve_world()
    else:
        play()
