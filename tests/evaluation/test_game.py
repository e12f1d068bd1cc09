"""The real game with an untrained policy: the user's commands as a person types them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from steve1.core.checkpoint_metadata import CheckpointMetadata, write_checkpoint_metadata
from steve1.core.paths import ROOT
from steve1.data.media.video import probe

pytestmark = pytest.mark.game


@pytest.fixture(scope="module")
def metadata(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained family of small sizes on disk, two policies."""
    import torch

    from steve1.mineclip.config import MineCLIPConfig
    from steve1.mineclip.model import MineCLIP
    from steve1.mineclip.weights import save_mineclip
    from steve1.policy import PolicyConfig, load_policy, save_weights, write_model
    from steve1.prior import Prior, PriorConfig, save_prior

    folder = tmp_path_factory.mktemp("family.v1")
    config = PolicyConfig(
        hidsize=64, attention_heads=2, attention_memory_size=32, timesteps=16, n_recurrence_layers=1, impala_width=1,
        impala_chans=(4, 8, 8), mineclip_embed_dim=32, temperature=2.0,
    )  # fmt: skip
    write_model(config, folder / "tiny.model")
    clip = MineCLIPConfig(
        embed_dim=32, resolution=(80, 128), vision_width=64, vision_layers=1, vision_heads=2, text_width=64, text_layers=1,
        text_heads=2, temporal_heads=1, temporal_layers=1,
    )  # fmt: skip
    save_mineclip(MineCLIP(clip), folder / "clip.safetensors")
    save_prior(Prior(PriorConfig(32, 32, 32)), folder / "prior.safetensors")
    for seed, name in enumerate(("base", "tuned")):
        torch.manual_seed(seed)
        save_weights(load_policy(folder / "tiny.model"), folder / f"{name}.weights")
        paths = {"model": "tiny.model", "mineclip": "clip.safetensors", "prior": "prior.safetensors"}
        files = {key: str(folder / file) for key, file in paths.items()}
        write_checkpoint_metadata(folder / f"{name}.weights", CheckpointMetadata(env="luanti", cond_scale=1.5, **files))
    return folder


def call(*words: str, ok: bool = True) -> str:
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert (done.returncode == 0) == ok, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_run_agent_writes_exactly_the_video_it_was_asked_for(metadata: Path, tmp_path: Path) -> None:
    video = tmp_path / "pretrained_result.mp4"
    words = [sys.executable, "run_agent/run_agent.py", "--in_weights", str(metadata / "base.weights"), "--text_prompt", "build a house",
             "--save_video", str(video), "--gameplay_length", "30"]  # fmt: skip
    video.write_bytes(b"of an earlier run")
    assert "exists already" in call(*words, ok=False)
    said = call(*words, "--overwrite")
    info = probe(video)
    assert (info.codec, info.width, info.height, info.fps, info.frames) == ("h264", 640, 360, 20.0, 30)
    facts = json.loads((tmp_path / "pretrained_result.json").read_text())
    assert facts["steps"] == 30
    assert facts["start"]["split"] == "eval"
    assert "steps/s" in said


def test_the_numbered_script_as_the_guide_calls_it(metadata: Path, tmp_path: Path) -> None:
    video = tmp_path / "x.mp4"
    call("bash", "2_gen_vid_for_text_prompt.sh", "--weights", str(metadata / "tuned.weights"), "--prompt", "swim",
         "--save_video", str(video), "--gameplay_length", "20")  # fmt: skip
    assert probe(video).frames == 20
    assert json.loads((tmp_path / "x.json").read_text())["biome"] == "shore"


def test_evaluation_by_minedojos_name_and_side_by_side(metadata: Path, tmp_path: Path) -> None:
    suite = tmp_path / "short.yaml"
    text = (ROOT / "steve1" / "evaluation" / "tasks" / "luanti.yaml").read_text()
    suite.write_text(text.replace("steps: 300", "steps: 30").replace("steps: 600", "steps: 30"))
    folder = tmp_path / "run"
    said = call("bash", "5_evaluate.sh", "--weights", str(metadata / "base.weights"), str(metadata / "tuned.weights"), "nothing", "--tasks",
                "BuildVillageHouse", "--episodes", "2", "--videos", "1", "--suite", str(suite), "--folder", str(folder), "--workers", "1")  # fmt: skip
    assert "build_wall" in said
    assert probe(next((folder / "videos").glob("build_wall-*.mp4"))).frames == 30 + 20
    lines = [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]
    assert len(lines) == 6
    assert {line["seed"] for line in lines if line["number"] == 0} == {lines[0]["seed"]}
    starts = {json.loads(path.read_text())["start"]["id"] for path in (folder / "traces").rglob("meadow-000.json")}
    assert len(starts) == 1
    assert (folder / "report.html").stat().st_size > 1000


def test_unknown_tasks_and_games_are_named_before_anything_starts(metadata: Path) -> None:
    weights = str(metadata / "base.weights")
    assert "BuildVillageHouse" in call(
        sys.executable, "evaluate_on_minedojo.py", "--weights", weights, "--task", "BuildVilageHouse", ok=False
    )
    said = call(
        sys.executable,
        "run_agent/run_agent.py",
        "--in_weights",
        weights,
        "--text_prompt",
        "x",
        "--env",
        "minecrft",
        ok=False,
    )
    assert "minecrft" in said
    assert "luanti" in said
