"""The README's first command at smoke size: the same path, smaller. Everything it makes carries a name of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from steve1.data.media.video import probe

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    "N_EPISODES": "2", "STEPS": "160", "TOTAL_FRAMES": "1024", "EPISODES": "1", "SEED": "5", "CHECK_SKILLS": "explore dig_dirt",
}  # fmt: skip


@pytest.fixture
def name() -> Iterator[str]:
    """A name for the run; what it leaves is removed afterwards."""
    made = f"test_{uuid.uuid4().hex[:8]}"
    yield made
    data = ROOT / "data"
    for path in [
        *data.glob(f"dataset_{made}*"), *data.glob(f"recordings/*{made}*"), *data.glob(f"samplings/{made}*"), *data.glob(f"comparisons/*{made}*"),
        *data.glob(f"weights/steve1/{made}*"), *data.glob(f"finetuning_checkpoint/{made}*"),
    ]:  # fmt: skip
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def quickstart(name: str) -> str:
    environment = {**os.environ, **SMALL, "NAME": name}
    done = subprocess.run(
        ["bash", "quickstart.sh"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.e2e
@pytest.mark.game
@pytest.mark.timeout(1000)
def test_the_quickstart_records_trains_and_compares(name: str) -> None:
    said = quickstart(name)
    for stage in range(1, 6):
        assert f"{stage}/5" in said
    assert said.count("on this machine now)") == said.count("took ") == 3
    assert "The base was not trained on dig dirt" in said
    assert "训练完成!" in said
    weights = ROOT / f"data/weights/steve1/{name}.weights"
    assert weights.stat().st_size > 1_000_000
    metadata = json.loads(Path(f"{weights}.json").read_text())
    assert metadata["env"] == "luanti"
    assert metadata["mineclip"] == "data/mini/mini_mineclip.safetensors"
    assert (ROOT / f"data/finetuning_checkpoint/{name}").is_dir()
    video = next(line.split()[-1] for line in said.splitlines() if line.startswith("video:"))
    found = probe(ROOT / video)
    assert found.fps == 20
    assert "dig_dirt" in metadata["trained_on"]
    assert {"explore", "look_at_sky"} <= set(metadata["trained_on"]), "what the pack replays"
    # The base's episode of an old skill ships as a result: of two that count it plays the new skill's alone.
    lines = [json.loads(line) for line in (ROOT / f"data/comparisons/{name}/episodes.jsonl").read_text().splitlines()]
    assert [line["row"] for line in lines if "known" in line] == ["explore"]
    assert sorted(line["row"] for line in lines if "known" not in line) == ["dig_dirt", "dig_dirt", "explore"]
    # The answer first; then the verdicts, where report, video and results lie, and the time.
    assert "Old skills, with a margin of 10 points: " in said
    end = said.rstrip().splitlines()[-9:]
    begun = ["dig dirt", "explore", "Under other prompts", "", "report", "video"]
    assert [line.split(":")[0] for line in end[:6]] == begun
    assert "base 0 of 1" in end[0]
    assert (ROOT / end[6].split()[-1]).name == "results.html"
    assert "done in" in end[8]
    scalars = list((ROOT / f"data/finetuning_checkpoint/{name}").rglob("settings.json"))
    chosen = json.loads(scalars[0].read_text())["settings"]
    assert (chosen["finetune_mode"], chosen["replay"]) == ("frozen_cnn", "data/mini/mini.replay.safetensors")
