"""A person plays Minecraft in MCio's window and is recorded: keys go in through a private X server, a contractor recording and then a dataset come out."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest

from steve1 import actions
from steve1.commands.data import record_minecraft
from steve1.core.errors import UserError
from steve1.core.paths import ROOT
from steve1.core.processes import end
from steve1.data.episodes.episode import Episode
from steve1.data.media.video import probe
from steve1.envs.luanti.portable import Keyboard
from steve1.envs.luanti.shared import KEY_PRESS, KEY_RELEASE
from steve1.envs.worker.resources import open_display
from tests.envs.leftovers import watch
from tests.envs.minecraft.mcio_home import make_home


def script(*words: str) -> None:
    """Run one of the project's scripts as a user does; it must succeed."""
    done = subprocess.run(["bash", *words], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


W, F10 = 25, 76  # X key codes of a US keyboard


class Fingers(threading.Thread):
    """Once the world is there: turns and walks for a while, in five strides, then presses F10."""

    def __init__(self, display: int, log: Path) -> None:
        super().__init__(daemon=True)
        self.keyboard, self.log, self.stop = Keyboard(display), log, threading.Event()

    def run(self) -> None:
        strides = 0
        while not self.stop.wait(0.5) and strides < 10:
            if self.keyboard.focus() and self.log.exists() and "client" in self.log.read_text():
                self.keyboard.send([(KEY_RELEASE if strides % 2 else KEY_PRESS, W)], 12, 0)
                strides += 1
        while not self.stop.wait(0.5):
            for kind in (KEY_PRESS, KEY_RELEASE):
                self.keyboard.send([(kind, F10)], 0, 0)


@pytest.mark.e2e
@pytest.mark.skipif(not shutil.which("Xvfb"), reason="Xvfb is missing")
def test_a_person_is_recorded_until_f10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = watch(monkeypatch)
    monkeypatch.setenv("STEVE1_MCIO_DIR", str(make_home(tmp_path / "mcio")))
    monkeypatch.setenv("MCIO_STAND_IN", str(tmp_path / "plan.json"))
    (tmp_path / "plan.json").write_text(json.dumps({"log": str(tmp_path / "log.jsonl")}))
    xserver, display = open_display(1280, 720)
    monkeypatch.setenv("DISPLAY", display)
    fingers = Fingers(int(display[1:]), tmp_path / "log.jsonl")
    fingers.start()
    words = [
        "--name",
        "walk",
        "--minutes",
        "2",
        "--folder",
        str(tmp_path / "out"),
        "--inventory",
        "dirt:3",
        "--scale",
        "1",
    ]
    try:
        began = time.monotonic()
        script("run_agent/record_minecraft.sh", *words)
        seconds = time.monotonic() - began
    finally:
        fingers.stop.set()
        fingers.join()
        end(xserver)
    ticks = [json.loads(line) for line in (tmp_path / "out" / "walk-0000.jsonl").read_text().splitlines()]
    assert probe(tmp_path / "out" / "walk-0000.mp4").frames == len(ticks)
    assert 10 < len(ticks) < 2400, "F10 ended it"
    assert seconds > len(ticks) * 0.05 * 0.9, "in real time"
    assert json.loads((tmp_path / "out" / "walk-0000-options.json").read_text())["env"] == "mcio"
    walked = [action["forward"] for action in actions.from_contractor(ticks)[0]]
    assert 3 < sum(walked) < len(ticks) - 3, "the key went up and down"
    assert ticks[-1]["zpos"] != ticks[0]["zpos"], "and the player moved"
    assert ticks[0]["inventory"] == [{"type": "dirt", "quantity": 3}]
    assert max(abs(tick["mouse"]["dx"]) for tick in ticks) > 0
    assert left() == []
    monkeypatch.delenv("DISPLAY")
    becomes_a_dataset(tmp_path, monkeypatch, len(ticks), sum(walked))


def becomes_a_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ticks: int, walked: int) -> None:
    """The guide's next two commands take the recording."""
    for name, value in {
        "SOURCE": "folder", "RECORDINGS_DIR": str(tmp_path / "out"), "OUTPUT_DIR": str(tmp_path / "dataset"),
        "MINECLIP": str(ROOT / "data" / "mini" / "mini_mineclip.safetensors"), "NULLS": "keep",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    script("1_generate_dataset.sh")
    (folder,) = (path for path in (tmp_path / "dataset").iterdir() if path.is_dir())
    episode = Episode(folder)
    assert ticks - 3 <= len(episode) <= ticks
    pressed = sum(int(action["forward"]) for action in episode.actions(0, len(episode)))
    assert abs(pressed - walked) <= 3
    goals = np.asarray(episode.goals)
    assert np.isnan(goals[:15]).all()
    assert np.isfinite(goals[15:]).all()
    assert episode.frames(0, 2).shape == (2, 128, 128, 3)


def test_escape_closes_a_menu_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The menu is closed when the key is let go, which must not leave it pressed for the rest of the recording."""
    keys = {"KEY_F10": 299, "KEY_ESCAPE": 256, "RELEASE": 0, "PRESS": 1}
    names = {
        "glfw": keys,
        "mcio_ctrl": {"network": SimpleNamespace(ObservationPacket=object), "types": SimpleNamespace()},
        "mcio_ctrl.envs": {},
        "mcio_ctrl.envs.env_util": {"DegreesToPixels": SimpleNamespace(DEGREES_PER_PIXEL=0.15), "StatsCache": dict},
        "mcio_ctrl.envs.minerl_env": {"INPUT_MAP": {}},
        "mcio_ctrl.gui": {"ImageStreamGui": MagicMock()},
    }
    for name, content in names.items():
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(**content))
    folder = "steve1.envs.minecraft.mcio.adapter_"
    window = importlib.import_module(folder + "window").Window({"width": 640, "height": 360})
    for name in ("reading", "window"):
        del sys.modules[folder + name]
    window.menu = True
    window._key(None, keys["KEY_ESCAPE"], 0, keys["PRESS"], 0)
    assert window.down == {"inventory"}
    window.menu = False
    window._key(None, keys["KEY_ESCAPE"], 0, keys["RELEASE"], 0)
    assert not window.down
    window._key(None, keys["KEY_ESCAPE"], 0, keys["PRESS"], 0)
    assert not window.down, "the game's own menu is no part of a recording"


def test_bad_requests_are_told_before_anything_opens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(UserError, match="screen"):
        record_minecraft.main(record_minecraft.Args("house"))
    with pytest.raises(UserError, match="name"):
        record_minecraft.main(record_minecraft.Args("my/house"))
    with pytest.raises(UserError, match="item"):
        record_minecraft.parse_inventory(("oak planks",))
    assert record_minecraft.parse_inventory(("oak_door", "minecraft:dirt:64", "dirt:2")) == {"oak_door": 1, "dirt": 66}
    (tmp_path / "walk-0007.mp4").touch()
    assert record_minecraft.free_prefix(tmp_path, "walk") == tmp_path / "walk-0008"
