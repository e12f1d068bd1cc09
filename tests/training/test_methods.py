"""What is trained, and what is left alone: each method changes only its own part, resumes exactly, and leaves files that play."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from steve1.commands.train import train as train_command
from steve1.commands.train.interpolate_weights import merged
from steve1.core.checkpoint_metadata import (
    CheckpointMetadata,
    GoalFile,
    read_checkpoint_metadata,
    read_goal,
    write_goal,
)
from steve1.core.errors import UserError
from steve1.core.files import sha256_file
from steve1.policy import load_policy
from steve1.training.batches import chunks, demonstrated_goal, open_windows
from steve1.training.checks import check
from steve1.training.config import TrainSettings
from steve1.training.distributed import Ranks
from steve1.training.finetune_modes import MODES
from steve1.training.loop import Hooks
from steve1.training.memory.estimate import Method, parameter_counts
from steve1.training.objectives import BehaviorCloning, KLToStart, LossModule
from steve1.training.train import finetune
from steve1.training.trainable import (
    adapter_path,
    apply_mode,
    frozen_copy,
    lora_layers,
    merge_adapter,
    plain_state,
    trained_parameters,
)
from tests.training.conftest import E, apart, same, weights_of

Make = Callable[..., TrainSettings]
ALONE = Ranks(0, 1, torch.device("cpu"))
LORA = {"finetune_mode": "lora", "lora_rank": 4, "learning_rate": 1e-2}


class Crash(Exception):
    pass


def crash_at(step: int) -> Hooks:
    def stop(now: int) -> None:
        if now == step:
            raise Crash

    return Hooks(on_step=stop)


def product(chosen: TrainSettings) -> dict[str, Any]:
    """What a run is for, with its average where it keeps one."""
    if chosen.finetune_mode == "goal":
        return {"goal": torch.from_numpy(read_goal(chosen.out_path).goal)}
    found = weights_of(chosen.out_path)
    if chosen.ema_decay:
        found |= {f"ema/{name}": value for name, value in weights_of(chosen.beside("ema")).items()}
    return found


# Each mode is trained with these, so that the regularizers are tried with all kinds of parameters.
OPTIONS: dict[str, dict[str, Any]] = {
    "frozen_cnn": {"kl_coef": 0.5, "l2sp_coef": 0.1},
    "heads_and_goal": {"ema_decay": 0.9},
    "lora": {**LORA, "kl_coef": 0.5, "l2sp_coef": 0.1, "ema_decay": 0.9},
    "goal": {"learning_rate": 0.1},
    "norm_bias": {"kl_coef": 0.5},
    "all": {"kl_coef": 0.5, "l2sp_coef": 0.1, "ema_decay": 0.9},
}
CHANGED: dict[str, Callable[[str], bool]] = {
    "frozen_cnn": lambda name: not name.startswith(("net.img_process.cnn", "value_head")),
    "heads_and_goal": lambda name: name.startswith(("pi_head", "net.mineclip_embed_linear")),
    "lora": lambda name: re.search(r"(\b[qkv]_layer|proj_layer|linear_layer|mlp[01].layer)\.weight$", name) is not None,
    "goal": lambda name: False,
    "norm_bias": lambda name: not name.startswith("value_head") and ("bias" in name or "norm" in name or "_ln" in name or ".n." in name),
    "all": lambda name: not name.startswith("value_head"),
}  # fmt: skip


# Two chunks a window; the resume point after step 3 lies in the middle of one.
SMALL = {
    "T": 16, "trunc_t": 8, "batch_size": 1, "total_frames": 5 * 8, "warmup_frames": 8, "save_every": 3, "val_freq": 0, "keep_checkpoints": False,
}  # fmt: skip


@pytest.mark.e2e
@pytest.mark.parametrize("mode", MODES)
def test_a_method_changes_its_part_alone_and_resumes_bit_for_bit(settings: Make, tiny: Path, mode: str) -> None:
    """Stopped in the middle of a window, the KL's own memory and the average included."""
    chosen = settings(**{**SMALL, "finetune_mode": mode, **OPTIONS.get(mode, {})})
    finetune(chosen)
    expected = product(chosen)
    if MODES[mode].changes_weights:
        start = weights_of(tiny / "tiny.weights")
        changed = {name for name in start if not torch.equal(start[name], expected[name])}
        assert changed == {name for name in start if CHANGED[mode](name)}
    shutil.rmtree(chosen.run_dir)
    shutil.rmtree(chosen.out_path.parent)
    with pytest.raises(Crash):
        finetune(chosen, hooks=crash_at(4))
    steps: list[int] = []
    finetune(chosen, hooks=Hooks(on_step=steps.append))
    assert steps == [4, 5]
    assert same(product(chosen), expected)


@pytest.mark.e2e
def test_optimizer_and_resume_points_hold_only_what_is_trained(settings: Make) -> None:
    from safetensors.torch import load_file

    chosen = settings(**SMALL, **LORA)
    finetune(chosen)
    point = next(chosen.run_dir.glob("resume/*"))
    names = {name.rsplit(".", 1)[-1] for name in load_file(point / "model.safetensors")}
    assert names == {"lora_a", "lora_b"}
    assert {key.split("/")[0].rsplit(".", 1)[-1] for key in load_file(point / "optimizer.safetensors")} == names


def test_what_is_trained_is_counted_first(settings: Make, capsys: pytest.CaptureFixture[str]) -> None:
    finetune(settings(**SMALL, finetune_mode="goal"))
    said = capsys.readouterr().out
    assert f"trains one goal vector and no weights: {E} of " in said
    assert "MiB for weights, gradients and optimizer" in said


def test_merged_weights_and_the_adapter_are_the_same_policy(settings: Make, tiny: Path) -> None:
    """The written weights act as the policy with its additions did, and adapter + starting weights give them again."""
    chosen = settings(**{**SMALL, **LORA})
    finetune(chosen)
    tuned, again = (
        load_policy(tiny / "tiny.model", chosen.out_path),
        load_policy(tiny / "tiny.model", tiny / "tiny.weights"),
    )
    hashed = merge_adapter(again, adapter_path(chosen.out_path))
    assert hashed == sha256_file(tiny / "tiny.weights")
    for name, value in tuned.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, atol=1e-7, rtol=1e-6)
    with pytest.raises(UserError, match="cannot be merged"):
        merge_adapter(again, tiny / "tiny.weights")
    before = chosen.out_path.read_bytes()
    with pytest.raises(UserError, match="would be replaced"):
        merged(tiny / "tiny.model", tiny / "tiny.weights", adapter_path(chosen.out_path), chosen.out_path.parent)
    assert chosen.out_path.read_bytes() == before


def test_a_merged_adapter_replaces_no_other_weights(settings: Make, tiny: Path, tmp_path: Path) -> None:
    chosen = settings(**{**SMALL, **LORA})
    finetune(chosen)
    files = (tiny / "tiny.model", tiny / "tiny.weights", adapter_path(chosen.out_path))
    path = merged(*files, tmp_path / "w")
    assert read_checkpoint_metadata(path).hashes["weights"] == sha256_file(path)
    assert read_checkpoint_metadata(path).cond_scale == read_checkpoint_metadata(chosen.out_path).cond_scale
    assert merged(*files, tmp_path / "w") == path, "its own file is written again"
    path.write_bytes(b"weights that took days")
    with pytest.raises(UserError, match="Other weights lie"):
        merged(*files, tmp_path / "w")
    assert path.read_bytes() == b"weights that took days"


def test_the_narrow_way_gives_the_same_as_the_merged_matrix(settings: Make, tiny: Path) -> None:
    policy = load_policy(tiny / "tiny.model", tiny / "tiny.weights")
    apply_mode(policy, settings(**{**LORA, "lora_targets": "attention,mlp,action_heads,goal,lastlayer"}))
    with torch.no_grad():
        for layer in lora_layers(policy).values():
            layer.lora_b.normal_()
            x = torch.randn(3, layer.in_features)
            torch.testing.assert_close(
                layer(x), torch.nn.functional.linear(x, layer.weight, layer.bias), atol=1e-4, rtol=1e-4
            )
            assert float(layer.squared_length()) == pytest.approx(
                float((layer.weight - layer.base.weight).square().sum()), rel=1e-3
            )
    assert plain_state(policy).keys() == load_policy(tiny / "tiny.model").state_dict().keys()
    with pytest.raises(UserError, match="lora_rank <= 8"):
        apply_mode(load_policy(tiny / "tiny.model"), settings(finetune_mode="lora", lora_rank=33, lora_targets="goal"))


@pytest.mark.e2e
def test_a_tuned_goal_explains_the_demonstrations_better(settings: Make, tiny: Path) -> None:
    chosen = settings(finetune_mode="goal", learning_rate=0.3, total_frames=320, val_freq=0, keep_checkpoints=False)
    losses = {}
    finetune(chosen)
    kept = read_goal(chosen.out_path)
    start = demonstrated_goal(chosen)
    assert kept.goal.shape == (E,)
    assert kept.weights_sha256 == sha256_file(tiny / "tiny.weights")
    assert not np.array_equal(kept.goal, start)
    policy = load_policy(tiny / "tiny.model", tiny / "tiny.weights")
    for name, goal in {"start": start, "tuned": kept.goal}.items():
        train, *_ = open_windows(chosen, goal)
        feed = chunks(train, chosen, ALONE)
        loss = LossModule(policy, [BehaviorCloning(policy)])
        with torch.no_grad():
            found = [next(feed) for _ in range(4)]
            losses[name] = sum(float(loss(piece.micro_batches[0], loss.initial_state(2)).loss) for piece in found)
    assert losses["tuned"] < losses["start"]


def test_kl_is_the_divergence_and_its_gradient_is_right(settings: Make, tiny: Path) -> None:
    """Against plain torch over the whole tables of log-probabilities."""
    policy = load_policy(tiny / "tiny.model", tiny / "tiny.weights")
    reference = frozen_copy(policy)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    train, *_ = open_windows(settings())
    part = next(chunks(train, settings(), ALONE)).micro_batches[0]
    module = LossModule(policy, [BehaviorCloning(policy), KLToStart(policy, reference, 0.7)])
    found = module(part, module.initial_state(2))
    found.loss.backward()
    gradients = {
        name: parameter.grad.clone() for name, parameter in policy.named_parameters() if parameter.grad is not None
    }
    policy.zero_grad()
    arguments = part["frames"], part["goals"], part["first"], policy.initial_state(2)
    own, start = policy(*arguments), reference(*arguments)
    divergence = sum(
        ((was := getattr(start, head)).exp() * (was - getattr(own, head))).sum(-1).mean()
        for head in ("buttons", "camera")
    )
    (policy.loss(*arguments, part["buttons"], part["camera"]).loss + 0.7 * divergence).backward()
    assert float(found.measures[-1]) == pytest.approx(float(divergence), rel=1e-4)
    assert float(divergence) > 0.01
    assert apart({name: dict(policy.named_parameters())[name].grad for name in gradients}, gradients) < 1e-3


@pytest.mark.e2e
def test_pulls_hold_the_weights_and_the_actions_back(settings: Make, tiny: Path) -> None:
    start = weights_of(tiny / "tiny.weights")

    def moved(**changes: Any) -> float:
        chosen = settings(**{**SMALL, "total_frames": 80}, overwrite=True, weight_decay=0.0, **changes)
        finetune(chosen)
        return sum(float((value - start[name]).square().sum()) for name, value in weights_of(chosen.out_path).items())

    free = moved()
    assert moved(l2sp_coef=10.0) < 0.5 * free
    assert moved(**LORA, l2sp_coef=10.0) < 0.5 * moved(**LORA)


@pytest.mark.e2e
def test_the_average_lies_between(settings: Make, tiny: Path) -> None:
    chosen = settings(**SMALL, ema_decay=0.5)
    finetune(chosen)
    start, last, mean = weights_of(tiny / "tiny.weights"), weights_of(chosen.out_path), weights_of(chosen.beside("ema"))
    name = "pi_head.camera.linear_layer.bias"
    assert not torch.equal(mean[name], last[name])
    assert float((mean[name] - start[name]).norm()) < float((last[name] - start[name]).norm())


@pytest.mark.e2e
def test_retention_is_validated_beside_the_task_and_counts_for_the_best(
    settings: Make, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    chosen = settings(**{**SMALL, "val_freq": 2}, retention_sampling="tiny", best_by="task+retention")
    result = finetune(chosen)
    assert "Retention @ step 0: Loss=" in capsys.readouterr().out
    board = EventAccumulator(str(chosen.run_dir))
    board.Reload()
    task, kept = (
        {event.step: event.value for event in board.Scalars(f"{name}/loss")} for name in ("validation", "retention")
    )
    assert sorted(kept) == [0, 2, 4, 5]
    assert result.best_score == pytest.approx(min(task[step] + kept[step] for step in (2, 4, 5)), abs=1e-5)


def test_contradictions_of_methods_are_all_named(settings: Make) -> None:
    with pytest.raises(UserError) as caught:
        check(settings(
            finetune_mode="goal", kl_coef=0.1, ema_decay=0.9, retention_sampling="tiny", fixed_prompt="dig", fixed_goal_file="/no.goal.json",
            lora_targets="everything", in_weights="none", rollout_every=10,
        ))  # fmt: skip
    text = str(caught.value)
    for part in (
        "nothing for kl_coef, ema_decay",
        "old skills cannot be lost",
        "choose one",
        "lora_targets are some of",
        "there are none to start from",
        "makes a goal, and rollouts play prompts: set ROLLOUT_EVERY=0",
    ):
        assert part in text, part
    with pytest.raises(UserError, match="needs a retention list"):
        check(settings(best_by="task+retention"))


@pytest.mark.e2e
def test_a_text_embedding_that_weights_were_trained_on_can_be_played(
    settings: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    goal = np.arange(E, dtype=np.float32)
    monkeypatch.setattr(train_command, "goal_of_prompt", lambda _: goal)
    chosen = settings(fixed_prompt="dig", fixed_prompt_by="text", total_frames=64, warmup_frames=32, val_freq=0)
    assert dataclasses.replace(chosen, fixed_prompt_by="prior").goal_path is None
    path = chosen.out_path.with_name("tuned.goal.json")
    path.parent.mkdir(parents=True)
    write_goal(path, GoalFile(goal + 1))
    with pytest.raises(UserError, match="holds another goal"):
        train_command.main(chosen)
    path.unlink()
    train_command.main(chosen)
    written = read_goal(path)
    assert np.array_equal(written.goal, goal)
    assert (written.weights, written.prompt) == (str(chosen.out_path), "dig")
    assert f"run_agent.py --goal_file {path}" in capsys.readouterr().out
    assert f"run_agent.py --goal_file {path}" in (chosen.run_dir / "report.html").read_text()


@pytest.mark.e2e
def test_a_fixed_goal_stands_at_every_frame(settings: Make, tiny: Path) -> None:
    goal = np.arange(E, dtype=np.float32)
    with pytest.raises(UserError, match="fixed_prompt 'dig dirt' without a goal"):
        finetune(settings(fixed_prompt="dig dirt"))
    train, val, _ = open_windows(settings(fixed_prompt="dig dirt"), goal)
    assert val is not None
    assert (train.window(0, 0)["goals"] == goal).all()
    assert (val.window(0, 0)["goals"] == goal).all()
    first, other = (settings(**SMALL, fixed_prompt="dig dirt", overwrite=again) for again in (False, True))
    with pytest.raises(Crash):
        finetune(first, goal=goal, hooks=crash_at(4))
    with pytest.raises(UserError, match="goal: content"):  # the same words through another prior are another run
        finetune(first, goal=goal + 1)
    finetune(other, goal=goal)


@pytest.mark.e2e
def test_weights_that_never_went_without_a_goal_play_without_guidance(
    settings: Make, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for changes, scale in (
        ({"fixed_prompt": "dig"}, 0.0),
        ({"p_uncond": 0.0}, 0.0),
        ({"ema_decay": 0.9, "val_freq": 2}, CheckpointMetadata().cond_scale),
    ):
        chosen = settings(**{**SMALL, "total_frames": 16, "warmup_frames": 8, "overwrite": True, **changes})
        finetune(chosen, goal=np.ones(E, np.float32) if chosen.fixed_prompt else None)
        said = capsys.readouterr().out
        assert read_checkpoint_metadata(chosen.out_path).cond_scale == scale
        assert ("cond_scale 0" in said) == (scale == 0.0)
        assert ("validations take twice as long" in said) == (chosen.ema_decay > 0)


@pytest.mark.parametrize("mode", MODES)
def test_plans_count_what_is_trained(settings: Make, tiny: Path, mode: str) -> None:
    chosen = settings(finetune_mode=mode, lora_rank=3, lora_targets="attention,goal")
    policy = load_policy(tiny / "tiny.model", tiny / "tiny.weights")
    apply_mode(policy, chosen, torch.zeros(E))
    trained = sum(parameter.numel() for parameter in trained_parameters(policy).values())
    assert parameter_counts(policy.config, Method.of(chosen))[1] == trained
    assert ("--lora_rank 3 --lora_targets attention,goal" in Method.of(chosen).flags()) == (mode == "lora")


@pytest.mark.parametrize("mode", MODES)
def test_the_registry_says_how_far_gradients_go(settings: Make, tiny: Path, mode: str) -> None:
    """What memory, plans and checks are worked out from, against a real forward pass."""
    policy, chosen = load_policy(tiny / "tiny.model", tiny / "tiny.weights"), settings(finetune_mode=mode)
    apply_mode(policy, chosen, torch.zeros(E))
    blocks = list(policy.net.recurrent_layer.layers)
    reached: list[bool] = []
    for block in blocks:
        block.register_forward_hook(lambda _, __, output: reached.append(output[0].requires_grad))
    features: list[torch.Tensor] = []
    policy.net.img_process.cnn.dense.register_forward_hook(lambda _, __, output: features.append(output))
    train, *_ = open_windows(chosen)
    module = LossModule(policy, [BehaviorCloning(policy)])
    batch = next(chunks(train, chosen, ALONE)).micro_batches[0]
    module(batch, module.initial_state(2)).loss.backward()
    assert sum(reached) == MODES[mode].blocks_reached(len(blocks))
    assert reached == sorted(reached)
    assert features[0].requires_grad == MODES[mode].trains_cnn
    assert policy.net.mineclip_embed_linear.weight.requires_grad == MODES[mode].trains_goal_layer
    if mode == "norm_bias":  # its bias is trained, and that alone cannot make up for missing weights
        assert policy.net.mineclip_embed_linear.bias.requires_grad


def test_frozen_copies_share_what_is_not_trained(settings: Make, tiny: Path) -> None:
    policy = load_policy(tiny / "tiny.model", tiny / "tiny.weights")
    apply_mode(policy, dataclasses.replace(settings(), finetune_mode="heads_and_goal"))
    copy = dict(frozen_copy(policy).named_parameters())
    trained = trained_parameters(policy)
    for name, parameter in policy.named_parameters():
        assert (copy[name].data_ptr() == parameter.data_ptr()) == (name not in trained), name
