"""Prompts, goal files and episodes → goals: seeded, alike at any place, in English, and of the policy's size."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from steve1.commands.train.train import goal_of_prompt
from steve1.core.checkpoint_metadata import (
    CheckpointMetadata,
    GoalFile,
    read_checkpoint_metadata,
    write_checkpoint_metadata,
    write_goal,
)
from steve1.core.errors import UserError
from steve1.core.paths import ROOT
from steve1.evaluation.policies import PolicySpec, goals_for
from steve1.evaluation.tasks.suite import load_suite
from steve1.goals import GoalEncoder
from steve1.prior import Prior, PriorConfig, save_prior
from steve1.prompts import known_prompts
from steve1.training.config import TrainSettings

WEIGHTS = ROOT / "data/mini/mini.weights"


@pytest.fixture(scope="module")
def encoder() -> GoalEncoder:
    return GoalEncoder(read_checkpoint_metadata(WEIGHTS).updated(prior_code="sample"))


def test_the_same_prompt_and_seed_give_the_same_goal(encoder: GoalEncoder) -> None:
    goals = encoder.encode(["dig a hole", "look at the sky"], seed=3)
    goal = goals["dig a hole"]
    assert goal.shape == (encoder.size,)
    assert goal.dtype == np.float32
    torch.randn(5)  # the global generator has no say
    again = GoalEncoder(encoder.metadata)
    assert np.array_equal(goal, again.encode(["dig a hole"], seed=3)["dig a hole"])
    assert not np.array_equal(goal, again.encode(["dig a hole"], seed=4)["dig a hole"])
    assert not np.array_equal(goal, goals["look at the sky"])
    assert not encoder.no_goal.any()


def test_a_goal_is_what_the_prior_gives_for_the_text_or_the_text_itself(encoder: GoalEncoder) -> None:
    text = encoder.mineclip.encode_text(["swim", "dig a hole"])
    by_prior = encoder.encode(["dig a hole"], seed=3)["dig a hole"]
    assert np.allclose(by_prior, encoder.prior.goal(text, seed=3)[1].numpy(), atol=1e-5)
    assert np.allclose(encoder.encode(["dig a hole"], by="text")["dig a hole"], text[1].numpy(), atol=1e-5)


def test_the_middle_of_the_prior_has_no_seed_and_is_refused_by_another_name(
    encoder: GoalEncoder, tmp_path: Path
) -> None:
    middle = GoalEncoder(encoder.metadata.updated(prior_code="middle"))
    goals = [middle.encode(["swim"], seed=seed)["swim"] for seed in (0, 1)]
    assert np.array_equal(*goals)
    text = encoder.mineclip.encode_text(["swim"])
    assert np.allclose(goals[0], encoder.prior.goal(text, deterministic=True)[0].numpy(), atol=1e-5)
    weights = tmp_path / "x.weights"
    for code in ("middle", "mean"):
        write_checkpoint_metadata(weights, encoder.metadata.updated(prior_code=code))
        if code == "middle":
            assert read_checkpoint_metadata(weights).prior_code == "middle"
        else:
            with pytest.raises(UserError, match="unknown value") as fault:
                read_checkpoint_metadata(weights)
            assert "sample or middle" in str(fault.value)


def test_policies_with_another_code_have_other_goals(encoder: GoalEncoder) -> None:
    specs = [PolicySpec(code, "weights", metadata=encoder.metadata.updated(prior_code=code)) for code in ("sample", "middle")]  # fmt: skip
    goals = goals_for(specs, ["swim"])
    assert not np.array_equal(goals["sample"]["swim"], goals["middle"]["swim"])


def test_a_prompt_in_chinese_has_the_english_ones_goal(
    encoder: GoalEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    goals = encoder.encode(["砍树", "chop a tree"])
    assert np.array_equal(goals["砍树"], goals["chop a tree"])
    assert capsys.readouterr().out == 'MineCLIP reads "砍树" as "chop a tree".\n'
    assert encoder.translate("用木头建一座小房子") == "build a small house with wood"
    assert capsys.readouterr().out == 'MineCLIP reads "用木头建一座小房子" as "build a small house with wood".\n'
    assert encoder.translate("挖量子泥土") == "dig dirt"
    assert "warning: not understood, and left out of the goal: 量子 (" in capsys.readouterr().out
    assert encoder.translate("量子纠缠") == "量子纠缠"
    assert "its goal will mean little (the nearest known prompt: " in capsys.readouterr().out
    assert encoder.translate("fly") == "fly"
    assert capsys.readouterr().out == ""
    own = GoalEncoder(encoder.metadata, translations={"盖房子": "build a house"})
    assert own.translate("盖房子 ") == "build a house"


@pytest.mark.parametrize("many", [1, 75, 76, 500])
def test_a_prompt_that_is_too_long_is_told_with_the_part_that_is_read(
    encoder: GoalEncoder, capsys: pytest.CaptureFixture[str], many: int
) -> None:
    prompt = "dig " * many
    goal = encoder.encode([prompt])[prompt]
    said = capsys.readouterr().out
    assert (f'"{"dig " * 74}dig"\n' in said) == ("too long" in said) == (many > 75)
    shorter = "dig " * min(many, 75)
    assert np.array_equal(goal, encoder.encode([shorter])[shorter])


def test_every_task_is_known_in_its_other_languages() -> None:
    for env in ("luanti", "minecraft"):
        for text, english in load_suite(env).translations.items():
            assert known_prompts()[text.lower()] == english


def test_training_pursues_the_goal_that_playing_pursues(encoder: GoalEncoder, tmp_path: Path) -> None:
    """Whatever the run's seed is: an evaluation draws the prior's code with 0, as playing does by default."""
    weights = tmp_path / "x.weights"
    write_checkpoint_metadata(weights, encoder.metadata)

    def trained(prompt: str, **more: str) -> np.ndarray | None:
        mini = {"in_model": encoder.metadata.model, "in_weights": str(weights)}
        return goal_of_prompt(TrainSettings(fixed_prompt=prompt, seed=3, **mini, **more))  # type: ignore[arg-type]

    spec = PolicySpec("x", "weights", str(weights), metadata=encoder.metadata)
    goals = goals_for([spec], ["chop a tree"])["x"]
    for prompt in ("砍树", "chop a tree"):
        assert np.array_equal(trained(prompt), goals["chop a tree"])
        straight = encoder.encode([prompt], by="text")[prompt]
        assert np.array_equal(trained(prompt, fixed_prompt_by="text"), straight)
    assert trained("") is None


def test_goal_files_are_read(encoder: GoalEncoder, tmp_path: Path) -> None:
    goal = np.arange(encoder.size, dtype=np.float32)
    write_goal(tmp_path / "dig.goal.json", GoalFile(goal))
    assert np.array_equal(encoder.from_file(tmp_path / "dig.goal.json"), goal)
    write_goal(tmp_path / "short.goal.json", GoalFile(goal[:-1]))
    with pytest.raises(UserError, match="does not fit the policy") as fault:
        encoder.from_file(tmp_path / "short.goal.json")
    assert "short.goal.json" in str(fault.value)


def test_faults_are_named(encoder: GoalEncoder, tmp_path: Path) -> None:
    save_prior(Prior(PriorConfig(encoder.size * 2, 8, 8)), tmp_path / "p.safetensors")
    with pytest.raises(UserError, match="do not fit the prior"):
        GoalEncoder(encoder.metadata.updated(prior=str(tmp_path / "p.safetensors"))).encode(["swim"])
    with pytest.raises(UserError, match="empty"):
        encoder.encode(["  "])
    for name in ("mineclip", "prior"):
        lacking = dataclasses.replace(encoder.metadata, **{name: "data/none.pth"})
        with pytest.raises(UserError, match="were not found"):
            GoalEncoder(lacking).encode(["swim"])


def test_a_policy_of_another_size_is_refused(encoder: GoalEncoder, tmp_path: Path) -> None:
    from steve1.policy import read_model, write_model

    config = dataclasses.replace(read_model(ROOT / encoder.metadata.model), mineclip_embed_dim=encoder.size + 1)
    write_model(config, tmp_path / "other.model")
    with pytest.raises(UserError, match="does not fit the policy"):
        GoalEncoder(encoder.metadata.updated(model=str(tmp_path / "other.model"))).encode(["swim"])


def test_metadata_beside_the_weights_is_used() -> None:
    assert GoalEncoder.from_checkpoint(WEIGHTS).metadata == read_checkpoint_metadata(WEIGHTS)
    assert GoalEncoder(CheckpointMetadata(env="x")).metadata.env == "x"
