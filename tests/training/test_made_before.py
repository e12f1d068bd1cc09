"""Files made by an earlier version, with its names, load today, and its run goes on to where that version came to.

tests/training/made_before/README.md says how they were made.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from steve1.core.checkpoint_metadata import read_checkpoint_metadata, read_goal
from steve1.core.errors import UserError
from steve1.core.paths import ROOT
from steve1.core.run_folder import newest_resume_point
from steve1.policy import load_policy
from steve1.training.cache import FeatureCache
from steve1.training.config import TrainSettings, current_names
from steve1.training.train import finetune
from steve1.training.trainable import adapter_path, merge_adapter

MADE_BEFORE = ROOT / "tests/training/made_before"


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files, in a folder that may be written to, under the path that their contents name."""
    folder = tmp_path / "tests/golden/made_before"
    monkeypatch.chdir(tmp_path)
    shutil.copytree(MADE_BEFORE, folder)
    (folder / "start.weights").write_bytes(gzip.decompress((MADE_BEFORE / "start.weights.gz").read_bytes()))
    return folder


@pytest.fixture
def run(made: Path) -> TrainSettings:
    """Settings of today for the run that stands in the middle; its record says that the output goes to this test's folder."""
    record = made / "run_folder/tuned/settings.json"
    out = str(made / "out/tuned.weights")
    record.write_text(record.read_text().replace("tests/golden/made_before/out/tuned.weights", out))
    earlier = current_names(json.loads(record.read_text())["settings"])
    return TrainSettings(
        **earlier
        | {
            "in_model": str(made / "tiny.model"),
            "in_weights": str(made / "start.weights"),
            "sampling_dir": str(made / "samplings"),
            "checkpoint_dir": str(made / "run_folder"),
        }
    )


def test_settings_have_todays_names(run: TrainSettings) -> None:
    """TrainSettings takes all of them, and what they said is kept."""
    assert (run.finetune_mode, run.turn_loss_weight, run.keep_checkpoints) == ("lora", 2.0, False)
    assert (run.max_skipped_steps, run.activation_checkpointing, run.force_resume) == (7, "none", False)
    assert run.lora_targets == "attention,action_heads,lastlayer"


def test_weights_load_with_what_goes_with_them(made: Path) -> None:
    load_policy(made / "tiny.model", made / "start.weights")
    metadata = read_checkpoint_metadata(made / "start.weights")
    assert (metadata.env, metadata.cond_scale, metadata.temperature) == ("craftground", 3.5, 0.9)
    assert metadata.model.endswith("made_before/tiny.model")


def test_a_goal_file_is_read(made: Path) -> None:
    found = read_goal(made / "tuned.goal.json")
    assert found.goal.shape == (8,)
    assert found.weights_sha256 == hashlib.sha256((made / "start.weights").read_bytes()).hexdigest()
    assert found.made_by["step"] == 10


def test_an_adapter_is_merged(made: Path) -> None:
    policy = load_policy(made / "tiny.model", made / "start.weights")
    before = policy.pi_head.buttons.linear_layer.weight.clone()
    assert (
        merge_adapter(policy, made / "expected/tuned.lora.safetensors")
        == read_goal(made / "tuned.goal.json").weights_sha256
    )
    assert not torch.equal(before, policy.pi_head.buttons.linear_layer.weight)


def test_the_run_goes_on_to_its_end(run: TrainSettings, made: Path) -> None:
    """From the middle of a window, with the KL's own memory and the average. What is compared is the way from the resume point to the end."""
    point = newest_resume_point(run.run_dir)
    assert point is not None
    start = {
        "tuned": load_file(point / "model.safetensors"),
        "tuned_ema": load_file(point / "average.safetensors"),
    }
    result = finetune(run)
    wanted = json.loads((made / "expected/result.json").read_text())
    assert (result.steps, result.frames, result.skipped_steps) == (
        wanted["step"],
        wanted["frames"],
        wanted["bad_steps"],
    )
    assert result.best_score == pytest.approx(wanted["best_score"], rel=1e-4)
    for kind, path in (("tuned", run.out_path), ("tuned_ema", run.beside("ema"))):
        expected, found = load_file(made / f"expected/{kind}.lora.safetensors"), load_file(adapter_path(path))
        assert expected.keys() == found.keys() == start[kind].keys()
        for name, value in expected.items():
            way = float((value - start[kind][name]).norm())
            assert way > 0
            assert float((found[name] - value).norm()) < 0.05 * way, name
    again = newest_resume_point(run.run_dir)
    assert again is not None
    record = json.loads((again / "position_0.json").read_text())
    assert {"skipped_steps", "spike_filter", "metric_sums"} <= set(record)


def test_settings_under_old_names_count_when_a_run_goes_on(run: TrainSettings) -> None:
    with pytest.raises(UserError) as caught:
        finetune(dataclasses.replace(run, turn_loss_weight=1.0, lora_targets="attention"))
    assert "turn_loss_weight: 2.0 then, 1.0 now" in str(caught.value)
    assert "lora_targets: 'attention,action_heads,lastlayer' then, 'attention' now" in str(caught.value)
    record = run.run_dir / "settings.json"
    record.write_text(record.read_text().replace('"jitter": false', '"jitter": false, "wiggle": 3'))
    with pytest.raises(UserError, match="wiggle: 3 then, there is no such setting now"):
        finetune(run)


def test_an_unknown_entry_of_a_resume_point_is_named(run: TrainSettings) -> None:
    point = newest_resume_point(run.run_dir)
    assert point is not None
    state = point / "position_0.json"
    state.write_text(state.read_text().replace('"group"', '"cluster"'))
    with pytest.raises(UserError, match="cluster"):
        finetune(run)


def test_a_feature_cache_of_other_arithmetic_is_refused_by_name(made: Path) -> None:
    """It was computed with torch's group norm, whose variance is not exact on a CPU; removing it is enough."""
    policy = load_policy(made / "tiny.model", made / "start.weights")
    cache, episode = FeatureCache(made / "feature_cache", policy), made / "episodes/ep0"
    (kept,) = (made / "feature_cache").glob("*")
    with pytest.raises(UserError, match="earlier version") as caught:
        cache.fill([episode])
    assert f"rm -r {kept}" in str(caught.value)
    assert not cache.folder.exists()
    shutil.rmtree(kept)
    cache.fill([episode])
    assert json.loads((cache.folder / "about.json").read_text())["arithmetic"] == 2
    assert cache.need([episode]).episodes == []
