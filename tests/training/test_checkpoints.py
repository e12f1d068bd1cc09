"""What a run leaves on disk, who may write where, and what a full disk or a kill cannot harm."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from steve1.core.checkpoint_metadata import CheckpointMetadata, read_checkpoint_metadata, write_checkpoint_metadata
from steve1.core.errors import UserError
from steve1.core.files import sha256_file
from steve1.core.run_folder import RunFolder, newest_resume_point
from steve1.policy import load_policy, save_weights
from steve1.training.checkpoint import checkpointer as checkpoints
from steve1.training.checkpoint import exports as products
from steve1.training.config import TrainSettings
from steve1.training.loop import Hooks
from steve1.training.train import finetune, metadata_of
from tests.training.conftest import SHORT, TINY, same, weights_of

Make = Callable[..., TrainSettings]


@pytest.mark.e2e
def test_files_of_a_run(settings: Make, tiny: Path) -> None:
    result = finetune(settings())
    folder = result.run_dir
    assert folder.name == "tuned"
    weights = {path.name for path in folder.glob("*.weights")}
    assert weights == {"tuned_step3.weights", "tuned_step6.weights", "tuned_latest.weights", "tuned_best.weights"}
    assert {path.name for path in result.out_weights.parent.iterdir()} == {
        "tuned.weights", "tuned.weights.json", "tuned_best.weights", "tuned_best.weights.json",
    }  # fmt: skip
    assert [path.name for path in (folder / "resume").iterdir()] == ["step000000006"]
    assert list(folder.glob("events.out.tfevents.*"))
    assert (folder / "first_batch.png").stat().st_size > 10_000
    record = json.loads((folder / "settings.json").read_text())
    assert record["settings"]["learning_rate"] == 1e-3
    assert record["made_by"]["torch"] == torch.__version__
    assert record["sha256"]["in_weights"] == sha256_file(tiny / "tiny.weights")
    assert not list(result.out_weights.parent.parent.rglob("*.tmp"))
    assert not list(folder.rglob("*.part"))


@pytest.mark.e2e
def test_no_step_weights_on_request(settings: Make, capsys: pytest.CaptureFixture[str]) -> None:
    result = finetune(settings(**{**SHORT, "val_freq": 3}, keep_checkpoints=False))
    assert {path.name for path in result.run_dir.glob("*.weights")} == {"tuned_latest.weights", "tuned_best.weights"}
    assert "Saved checkpoint: tuned_latest.weights" in capsys.readouterr().out


@pytest.mark.e2e
def test_every_weights_file_loads_strictly_and_has_its_metadata(settings: Make, tiny: Path) -> None:
    start = settings().in_weights
    write_checkpoint_metadata(
        start,
        CheckpointMetadata(
            model=settings().in_model, mineclip="data/mini/clip.safetensors", env="luanti", cond_scale=1.5
        ),
    )
    try:
        result = finetune(settings())
    finally:
        Path(start + ".json").unlink()
    files = [*result.run_dir.glob("*.weights"), *result.out_weights.parent.glob("*.weights")]
    assert len(files) == 6
    for path in files:
        policy = load_policy(tiny / "tiny.model", path)  # strict: every key matched, none left over
        assert same(weights_of(path), dict(policy.state_dict()))
        assert not any(key.startswith(("policy.", "module.")) for key in torch.load(path, weights_only=True))
        metadata = read_checkpoint_metadata(path)
        assert (metadata.env, metadata.cond_scale, metadata.mineclip) == ("luanti", 1.5, "data/mini/clip.safetensors")
        assert metadata.hashes["weights"] == sha256_file(path)
        assert metadata.run == str(result.run_dir)
    assert not same(weights_of(result.out_weights), weights_of(tiny / "tiny.weights"))


@pytest.mark.e2e
def test_safetensors_in_and_out(settings: Make, tiny: Path, tmp_path: Path) -> None:
    save_weights(load_policy(tiny / "tiny.model", tiny / "tiny.weights"), tmp_path / "in.safetensors")
    plain = finetune(settings(**SHORT))
    out = str(tmp_path / "other" / "tuned2.safetensors")
    result = finetune(settings(in_weights=str(tmp_path / "in.safetensors"), out_weights=out, **SHORT))
    assert same(weights_of(plain.out_weights), weights_of(result.out_weights))


@pytest.mark.e2e
def test_vpt_weights_start_only_when_said_so(settings: Make, tiny: Path, tmp_path: Path) -> None:
    state = {key: value for key, value in weights_of(tiny / "tiny.weights").items() if "mineclip" not in key}
    torch.save(state, tmp_path / "vpt.weights")
    with pytest.raises(UserError, match="do not match the model"):
        finetune(settings(in_weights=str(tmp_path / "vpt.weights")))
    result = finetune(settings(in_weights=str(tmp_path / "vpt.weights"), from_vpt=True, **SHORT))
    assert weights_of(result.out_weights)["net.mineclip_embed_linear.weight"].abs().max() > 0


@pytest.mark.e2e
def test_from_scratch_is_seeded(settings: Make, tmp_path: Path) -> None:
    names = iter(("a", "b", "c"))
    runs = [
        finetune(
            settings(
                in_weights=given,
                from_scratch=flag,
                seed=seed,
                out_weights=str(tmp_path / f"{next(names)}.weights"),
                **SHORT,
            )
        )
        for given, flag, seed in (("none", True, 3), ("none", False, 3), ("none", True, 4))
    ]
    first, again, other = (weights_of(run.out_weights) for run in runs)
    assert same(first, again)
    assert not same(first, other)


@pytest.mark.e2e
def test_a_full_disk_leaves_the_last_good_checkpoint(settings: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = settings(val_freq=0)
    original = checkpoints._write_tensors
    kept: dict[str, Any] = {}

    def write(path: Path, tensors: dict[str, torch.Tensor]) -> None:
        if "step000000006" in str(path) and path.name == checkpoints.OPTIMIZER:
            kept.update(weights_of(chosen.run_dir / "tuned_latest.weights"))
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        original(path, tensors)

    monkeypatch.setattr(checkpoints, "_write_tensors", write)
    with pytest.raises(UserError) as caught:
        finetune(chosen)
    assert "No space left on device" in str(caught.value)
    assert "step000000003" in str(caught.value)
    point = newest_resume_point(chosen.run_dir)
    assert point is not None
    assert [item.name for item in point.parent.iterdir()] == ["step000000003"]
    assert same(weights_of(chosen.run_dir / "tuned_latest.weights"), kept)
    monkeypatch.undo()
    assert finetune(chosen).steps == 6


@pytest.mark.e2e
@pytest.mark.parametrize("kind", ["latest", "best"])
def test_weights_are_never_written_in_place(settings: Make, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    chosen = settings()
    broken: list[Path] = []

    def save(policy: object, path: Path) -> None:
        if chosen.run_dir.joinpath(f"tuned_{kind}.weights").exists() and f"tuned_{kind}" in path.name:
            path.write_bytes(b"half a file")
            broken.append(path)
            raise OSError(errno.ENOSPC, "No space left on device")
        save_weights(policy, path)  # type: ignore[arg-type]

    monkeypatch.setattr(products, "save_weights", save)
    with pytest.raises(UserError, match="checkpoint could not be written"):
        finetune(chosen)
    assert broken
    assert not broken[0].exists()
    load_policy(chosen.in_model, chosen.run_dir / f"tuned_{kind}.weights")


@pytest.mark.e2e
def test_a_damaged_resume_point_is_named(settings: Make) -> None:
    chosen = settings(**SHORT)
    finetune(chosen)
    point = newest_resume_point(chosen.run_dir)
    assert point is not None
    (point / checkpoints.OPTIMIZER).write_bytes(b"\x00" * 40)
    with pytest.raises(UserError) as caught:
        finetune(chosen)
    assert "resume point cannot be read" in str(caught.value)
    assert "--overwrite" in str(caught.value)


@pytest.mark.e2e
@pytest.mark.parametrize("name", ["tuned.weights", "tuned_best.weights"])
def test_output_weights_of_somebody_else_stay(settings: Make, name: str) -> None:
    chosen = settings(**{**SHORT, "val_freq": 3})
    path = chosen.out_path.with_name(name)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"precious")
    with pytest.raises(UserError, match="exist already and are not this run's"):
        finetune(chosen)
    assert path.read_bytes() == b"precious"
    finetune(dataclasses.replace(chosen, overwrite=True))
    assert path.read_bytes() != b"precious"


@pytest.mark.e2e
def test_a_run_killed_between_its_last_files_knows_them(settings: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    class Kill(BaseException):
        pass

    def write(path: Path, value: Any) -> None:
        if path.name == "result.json":
            raise Kill
        original(path, value)

    original = checkpoints.write_json
    monkeypatch.setattr(checkpoints, "write_json", write)
    with pytest.raises(Kill):
        finetune(settings(**SHORT))
    assert settings().out_path.exists()
    monkeypatch.undo()
    result = finetune(settings(**SHORT))
    assert json.loads((result.run_dir / "result.json").read_text())["out_sha256"] == sha256_file(result.out_weights)


@pytest.mark.e2e
def test_what_a_kill_left_half_written_is_swept_away(settings: Make) -> None:
    chosen = settings(**SHORT)
    chosen.run_dir.mkdir(parents=True)
    (chosen.run_dir / ".settings.json.123.0abcdef9.tmp").write_text("{")  # killed before anything was whole
    (chosen.run_dir / ".tuned_latest.weights.123.0abcdef9.weights").write_bytes(b"half")
    finetune(chosen)
    (chosen.run_dir / "resume" / ".step000000009.part").mkdir()
    finetune(chosen)
    left = [path.name for path in chosen.run_dir.rglob(".*")]
    assert left == [".lock"]


@pytest.mark.e2e
def test_saying_again_that_a_run_is_finished_leaves_nothing_behind(settings: Make) -> None:
    result = finetune(settings(**SHORT))
    names = sorted(str(path) for path in result.run_dir.parent.parent.rglob("*") if "events" not in path.name)
    finetune(settings(**SHORT))
    assert sorted(str(path) for path in result.run_dir.parent.parent.rglob("*") if "events" not in path.name) == names


@pytest.mark.e2e
def test_two_outputs_of_one_name_do_not_share_a_folder(settings: Make, tmp_path: Path) -> None:
    finetune(settings(**SHORT))
    with pytest.raises(UserError, match="out_weights: "):
        finetune(settings(out_weights=str(tmp_path / "elsewhere" / "tuned.weights"), **SHORT))


@pytest.mark.parametrize("name", ["diary.txt", ".secret"])
def test_a_folder_that_is_no_run_is_left_alone(settings: Make, name: str) -> None:
    chosen = settings(overwrite=True)
    chosen.run_dir.mkdir(parents=True)
    (chosen.run_dir / name).write_text("dear diary")
    with pytest.raises(UserError, match="holds something that is not a training run"):
        finetune(chosen)
    assert (chosen.run_dir / name).read_text() == "dear diary"


@pytest.mark.e2e
def test_two_processes_do_not_train_in_one_folder(settings: Make) -> None:
    chosen = settings(**SHORT)
    said: list[str] = []

    def second(step: int) -> None:
        if step == 2:
            with pytest.raises(UserError) as caught:
                finetune(chosen)
            said.append(str(caught.value))

    finetune(chosen, hooks=Hooks(on_step=second))
    assert "Another process is training in this folder" in said[0]


def test_restored_moments_lie_in_memory_as_their_weights_do(settings: Make, tiny: Path) -> None:
    """Fused optimizers walk through both side by side; a weight that is channels-last needs moments that are."""
    from steve1.training.checkpoint.checkpointer import optimizer_state_dict, restore_optimizer
    from steve1.training.optim.optimizers import make_optimizer

    def fresh() -> tuple[Any, torch.optim.Optimizer]:
        policy = load_policy(tiny / "tiny.model", tiny / "tiny.weights").to(memory_format=torch.channels_last)
        return policy, make_optimizer(policy, settings())

    def step(policy: Any, optimizer: torch.optim.Optimizer, seed: int) -> None:
        torch.manual_seed(seed)
        for parameter in policy.parameters():
            parameter.grad = (
                torch.empty_like(parameter).copy_(torch.randn(parameter.shape)) if parameter.requires_grad else None
            )
        optimizer.step()

    policy, optimizer = fresh()
    step(policy, optimizer, 1)
    again, resumed = fresh()
    again.load_state_dict(policy.state_dict())
    contiguous = {name: tensor.contiguous() for name, tensor in optimizer_state_dict(policy, optimizer).items()}
    restore_optimizer(again, resumed, contiguous)
    weight = again.net.img_process.cnn.stacks[1].firstconv.layer.weight
    assert not weight.is_contiguous()
    assert resumed.state[weight]["exp_avg"].stride() == weight.stride()
    step(policy, optimizer, 2)
    step(again, resumed, 2)
    assert same(dict(policy.state_dict()), dict(again.state_dict()))


def test_goals_of_another_size_are_refused(settings: Make, tiny: Path, tmp_path: Path) -> None:
    import dataclasses

    from steve1.policy import write_model

    write_model(dataclasses.replace(TINY, mineclip_embed_dim=12), tmp_path / "other.model")
    with pytest.raises(UserError) as caught:
        finetune(settings(in_model=str(tmp_path / "other.model"), in_weights="none"))
    assert "E = 12" in str(caught.value)
    assert "E = 8" in str(caught.value)
    assert not os.path.exists(settings().run_dir)


@pytest.mark.e2e
def test_hooks_see_checkpoints(settings: Make) -> None:
    seen: list[tuple[int, str]] = []
    finetune(
        settings(val_freq=0), hooks=Hooks(on_checkpoint=lambda step, path, reporter: seen.append((step, path.name)))
    )
    assert seen == [(3, "tuned_step3.weights"), (6, "tuned_step6.weights")]


@pytest.mark.e2e
def test_a_resume_point_with_an_earlier_name_of_the_best_score_is_read(settings: Make) -> None:
    chosen = settings()
    first = finetune(chosen)
    for point in chosen.run_dir.glob("resume/*/position_0.json"):
        point.write_text(point.read_text().replace('"best_score"', '"best_loss"'))
    again = finetune(chosen)
    assert first.best_score is not None
    assert (again.steps, again.best_score) == (first.steps, first.best_score)


@pytest.mark.parametrize(
    ("behaviours", "prompt", "expected"),
    [
        ({"explore", "dig_dirt"}, "", ("dig_dirt", "explore")),
        ({"dig_dirt", ""}, "", ()),  # an episode that does not say what it shows
        ({""}, "", ()),
        ({"dig_dirt"}, "build a house", ("build a house",)),
    ],
)
def test_metadata_says_what_the_weights_were_trained_on(
    behaviours: set[str], prompt: str, expected: tuple[str, ...], settings: Make
) -> None:
    windows: Any = SimpleNamespace(behaviours=behaviours)
    before = CheckpointMetadata(trained_on=("swim",))
    chosen = dataclasses.replace(settings(), fixed_prompt=prompt)
    assert metadata_of(chosen, before, {"sha256": {}}, windows).trained_on == expected


def test_a_disk_without_locks_can_be_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    RunFolder(tmp_path / "run", {}).close()
    assert "cannot be locked" in caplog.text
