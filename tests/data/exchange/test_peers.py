"""LeRobot and MineStudio themselves read what we export, in environments of their own (tools/install_peer.sh); skipped without them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steve1.core.frames import agent_frame
from steve1.core.paths import ROOT
from steve1.data.episodes.episode import Episode
from steve1.data.exchange.export import export_store
from steve1.data.exchange.lerobot.schema import ACTION_NAMES
from steve1.data.recordings.convert import ConvertSettings
from steve1.data.recordings.convert_folder import convert_folder
from tests.data.exchange.test_lerobot import captioned

pytestmark = pytest.mark.e2e


def run_peer(name: str, *words: str) -> str:
    """What a program's own Python prints; skips where it is not installed."""
    python = os.environ.get(f"STEVE1_{name.upper()}_PYTHON") or str(ROOT / "data" / "peers" / name / "bin" / "python")
    if not list(Path(python).parent.parent.glob(f"lib/python*/site-packages/{name}")):  # half an installation is none
        pytest.skip(f"{name} is not installed: bash tools/install_peer.sh {name}")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": ""}
    done = subprocess.run([python, *words], capture_output=True, text=True, env=environment, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def peer(name: str, script: str, *words: str) -> dict[str, Any]:
    """What a script prints as JSON in a program's own environment."""
    printed = run_peer(name, str(Path(__file__).with_name("peers") / script), *words)
    found = json.loads(printed.splitlines()[-1])
    print(name, found["versions"])
    assert isinstance(found, dict)
    return found


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "ds"
    captioned(folder / "a", 70, "dig dirt", events=[[5, "mine_block:dirt"]])
    captioned(folder / "b", 40, "explore", 1)
    captioned(folder / "c", 64, "dig dirt", 2)
    return folder


def test_lerobot_reads_our_dataset(dataset: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra lerobot)")
    paths = sorted(dataset.iterdir())
    export_store(paths, tmp_path / "set", "lerobot-v3")
    rows = [0, 1, 69, 70, 109, 110, 173]
    found = peer("lerobot", "read_lerobot.py", str(tmp_path / "set"), json.dumps(rows))
    assert (found["episodes"], found["frames"], found["fps"]) == (3, 174, 20)
    assert "action" in found["stats"]
    starts = [0, 70, 110]
    for row, item in zip(rows, found["items"]):
        number, frame = item["episode"], item["frame"]
        assert starts[number] + frame == row
        episode = Episode(paths[number])
        assert item["task"] == episode.metadata["captions"][0]
        wanted = episode.actions()[frame]
        names = [
            name for name, value in zip(ACTION_NAMES, item["action"]) if value == 1 and not name.startswith("camera")
        ]
        assert names == [name for name in ACTION_NAMES[:-2] if wanted[name]]
        assert np.allclose(item["action"][-2:], wanted["camera"])
        assert item["padded"][1] == (frame + 1 >= len(episode))
        picture = np.asarray(item["picture"], np.uint8).reshape(128, 128, 3)
        assert np.abs(picture.astype(int) - episode.frames(frame, frame + 1)[0]).mean() < 3


def test_lerobots_own_converter_takes_our_older_dataset(dataset: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra lerobot)")
    export_store(sorted(dataset.iterdir()), tmp_path / "set", "lerobot-v2.1")
    words = ["--repo-id=local/set", f"--root={tmp_path / 'set'}", "--push-to-hub=false"]
    run_peer("lerobot", "-m", "lerobot.scripts.convert_dataset_v21_to_v30", *words)
    assert json.loads((tmp_path / "set" / "meta" / "info.json").read_text())["codebase_version"] == "v3.0"
    summary = convert_folder(tmp_path / "set", tmp_path / "out", ConvertSettings(True, mineclip_frames=False))
    assert summary.count("converted") == 3, summary.text
    for number, path in enumerate(sorted(dataset.iterdir())):
        assert Episode(tmp_path / "out" / f"episode_{number:06d}").actions() == Episode(path).actions()


def test_a_dataset_that_lerobot_wrote_is_converted(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra lerobot)")
    names = ["attack", "forward", "camera_pitch", "camera_yaw"]
    peer("lerobot", "write_lerobot.py", str(tmp_path / "set"), json.dumps(names))
    settings = ConvertSettings(keep_nulls=True, mineclip_frames=False)
    summary = convert_folder(tmp_path / "set", tmp_path / "out", settings)
    assert summary.count("converted") == 2, summary.text
    for number, (length, caption) in enumerate([(20, "dig dirt"), (15, "explore")]):
        episode = Episode(tmp_path / "out" / f"episode_{number:06d}")
        assert (len(episode), episode.metadata["captions"]) == (length, [caption])
        for frame, (action, picture) in enumerate(zip(episode.actions(), episode.frames())):
            assert (action["attack"], action["forward"], action["jump"]) == (frame % 2, 0, 0)
            assert np.allclose(action["camera"], [-number, frame / 10])
            assert np.abs(picture.mean((0, 1)) - [number * 60 + 20, frame * 5, 0]).max() < 5


def test_minestudio_reads_our_store(dataset: Path, tmp_path: Path) -> None:
    pytest.importorskip("lmdb", reason="lmdb is not installed (extra minestudio)")
    export_store(sorted(dataset.iterdir()), tmp_path / "store", "minestudio")
    found = peer("minestudio", "read_minestudio.py", str(tmp_path / "store"), json.dumps([0, 1, 2, 3, 4]))
    assert found["length"] == 5
    for item in found["items"]:
        episode, start = Episode(dataset / item["episode"]), item["start"]
        actions = episode.actions(start, start + 32)
        assert item["mask"] == 32
        assert item["attack"] == [action["attack"] for action in actions]
        assert np.allclose(item["camera"], [action["camera"] for action in actions])
        assert item["buttons"] == episode.tokens(start, start + 32)[0].tolist()
        picture = np.asarray(item["picture"], np.uint8).reshape(128, 128, 3)
        assert np.abs(picture.astype(int) - agent_frame(episode.frames(start, start + 1)[0])).mean() < 4
