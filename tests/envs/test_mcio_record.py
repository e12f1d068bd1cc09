"""A person plays Minecraft in MCio's window and is recorded: keys go in through a private X server, a contractor recording comes out."""

from __future__ import annotations

import json
import shutil
import threading
import time
from pathlib import Path

import pytest

from steve1 import actions
from steve1.commands import record_minecraft
from steve1.core.errors import UserError
from steve1.data.video import probe
from steve1.envs.luanti.portable import Keyboard
from steve1.envs.luanti.processes import end
from steve1.envs.luanti.shared import KEY_PRESS, KEY_RELEASE
from steve1.envs.worker.resources import open_display

from .leftovers import watch
from .mcio_home import make_home

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
    try:
        began = time.monotonic()
        record_minecraft.main(record_minecraft.Args("walk", minutes=2.0, folder=str(tmp_path / "out"), inventory=("dirt:3",), scale=1.0))
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
