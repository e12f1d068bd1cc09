"""Rewards: what hand-made traces earn, that sums telescope and caps hold, and that faults in a file are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from steve1.core.errors import UserError
from steve1.evaluation.tasks.suite import FOLDER as TASKS
from steve1.rl.reward import FOLDER, load_reward
from tests.evaluation.tasks.test_rules import ramp, trace

FILES = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize(
    ("file", "name"), [(file, name) for file in FILES for name in yaml.safe_load(file.read_text())["rewards"]]
)
def test_every_shipped_reward_pays_nothing_for_nothing(file: Path, name: str) -> None:
    reward = load_reward(name, file.stem)
    episode = trace(100)
    alike = None if reward.likeness is None else np.zeros((100, 1 + len(reward.likeness.against)))
    paid = reward.judge(episode, alike)
    assert paid.reward.shape == (100,)
    assert paid.total == 0
    assert not paid.success
    assert reward.steps >= 100


def test_every_task_in_luanti_has_a_reward_that_counts_what_the_task_counts() -> None:
    tasks, rewards = (yaml.safe_load((folder / "luanti.yaml").read_text()) for folder in (TASKS, FOLDER))
    assert set(tasks["tasks"]) <= set(rewards["rewards"])
    for name, task in tasks["tasks"].items():
        listed = {frozenset(rule["names"]) for rule in _rules(task) if "names" in rule}
        paid = {frozenset(rule["names"]) for rule in _rules(rewards["rewards"][name]) if "names" in rule}
        assert paid <= listed, name
        assert load_reward(name).task.name == name


def _rules(content: object) -> list[dict[str, Any]]:
    """Every rule within a task or a reward."""
    if isinstance(content, list):
        return [rule for part in content for rule in _rules(part)]
    if not isinstance(content, dict):
        return []
    return [*([content] if "kind" in content else []), *_rules(list(content.values()))]


def test_looking_up_is_paid_as_it_happens() -> None:
    reward = load_reward("look_at_sky")
    pitch = np.where(np.arange(201) < 40, 0.0, -80.0)
    paid = reward.judge(trace(200, pitch=pitch))
    assert paid.success
    assert paid.total == pytest.approx(2.0)
    assert paid.parts["pitch_in_last_part"].sum() == pytest.approx(1.0)
    assert 38 <= np.flatnonzero(paid.reward)[0] <= 41
    assert paid.parts["success"][-1] == 1
    down_again = np.where((np.arange(201) > 40) & (np.arange(201) < 90), -80.0, 0.0)
    lost = reward.judge(trace(200, pitch=down_again))
    assert not lost.success
    assert lost.total == pytest.approx(0.0)
    assert lost.reward.min() < 0


def test_items_are_capped_and_what_was_dropped_and_taken_again_pays_nothing() -> None:
    reward = load_reward("dig_dirt")
    dirt = ramp(300, 9, 50, 250)
    paid = reward.judge(trace(300, inventory={"dirt": 64 + dirt}, dug={"dirt": dirt}))
    assert paid.success
    assert paid.total == pytest.approx(4 * 0.25 + 1)
    juggled = 64 - np.minimum(ramp(300, 5, 0, 100), 5) + np.minimum(ramp(300, 5, 150, 250), 5)
    assert reward.judge(trace(300, inventory={"dirt": juggled})).total == 0


def test_vpts_table() -> None:
    reward = load_reward("diamond_pickaxe", "minecraft")
    paid = reward.judge(
        trace(
            100, inventory={"oak_planks": ramp(100, 25), "iron_ore": ramp(100, 3), "diamond": ramp(100, 2), "stick": 0}
        )
    )
    assert paid.parts["planks"].sum() == pytest.approx(1.0)
    assert paid.parts["iron_ore"].sum() == pytest.approx(4.0)
    assert paid.parts["diamond"].sum() == pytest.approx(2 * 8 / 3)
    assert paid.total == pytest.approx(1 + 4 + 16 / 3)
    whole = {"oak_log": 8, "oak_planks": 20, "stick": 16, "coal": 5, "torch": 16, "iron_ingot": 3, "iron_pickaxe": 1}
    paid = reward.judge(trace(100, inventory={name: ramp(100, count) for name, count in whole.items()}))
    assert paid.total == pytest.approx(1 + 1 + 1 + 2 + 2 + 4 + 4)


def test_steps_death_and_the_games_own_reward(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(
        "env: luanti\nrewards:\n  mine:\n    task: explore\n    terms: [{step: -0.001}, {death: -1}, {env: 2}, {progress: {kind: displacement}, from: 0, to: 10, pays: 1}]\n"
    )
    reward = load_reward(file)
    episode = trace(50, x=ramp(50, 5))
    episode.metadata["ended"] = "terminated"
    episode.env_reward = np.eye(1, 50, 7)[0]
    paid = reward.judge(episode)
    assert paid.total == pytest.approx(-0.05 - 1 + 2 + 0.5)
    assert paid.reward[7] == pytest.approx(2 - 0.001, abs=0.11)
    assert list(paid.parts) == ["step", "death", "env", "displacement"]
    assert load_reward(f"{file}:mine").name == "mine"


def test_likeness_counts_what_is_more_than_chance() -> None:
    reward = load_reward("seeds_by_likeness")
    similar = np.full((60, 6), 0.2)
    similar[:, 0] = 0.3
    similar[:15] = np.nan
    paid = reward.judge(trace(60), similar)
    assert paid.reward[:15].sum() == 0
    assert paid.total == pytest.approx(10 * 45 / 60 * (1 - 1 / 6), rel=0.01)
    assert reward.judge(trace(60), np.full((60, 6), 0.2)).total == pytest.approx(0, abs=1e-12)
    with pytest.raises(UserError, match="has none"):
        reward.judge(trace(60))


def test_a_reward_that_is_no_number_is_named() -> None:
    episode = trace(30)
    episode.positions[12:, 0] = np.nan
    with pytest.raises(UserError, match="not a number") as found:
        load_reward("explore").judge(episode)
    assert "displacement" in str(found.value)
    assert "step 11" in str(found.value)


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ("[{progres: {kind: displacement}, from: 0, to: 1, pays: 1}]", "one of these kinds"),
        ("[{progress: {kind: displacment}, from: 0, to: 1, pays: 1}]", "displacement"),
        ("[{progress: {kind: displacement, at_least: 3}, from: 0, to: 1, pays: 1}]", "other parameters"),
        ("[{progress: {kind: displacement}, from: 1, to: 1, pays: 1}]", "two different ends"),
        ("[{progress: {kind: displacement}, from: 0, to: 1}]", "other keys"),
        ("[{items: {kind: displacement}, each: 1, most: 1}]", "counted"),
        ("[{items: {kind: item_gained, names: dirt}, each: 1, most: 1}]", "list of exact names"),
        ("[{success: lots}]", "not a number"),
        ("[{success: .nan}]", "not a number"),
        ("[{likeness: {to: a}, pays: 1}]", "its prompt and others"),
        ("[{likeness: {to: a, against: []}, pays: 1}]", "its prompt and others"),
        ("[]", "pays for nothing"),
        ("[]\n    items: {}", "pays for nothing"),
        ("[{success: 1, death: 1}]", "one of these kinds"),
        ("[{1: 2, success: 3}]", "other keys"),
        ("[{items: {kind: item_gained, names: [dirt]}, each: 1, most: -1}]", "cap is not below 0"),
        ("[{likeness: {to: a, against: [b]}, pays: 1}, {likeness: {to: c, against: [d]}, pays: 1}]", "at most one likeness"),
        ("[]\n    items: [log, planks]", "names with cap and value"),
        ("[]\n    items: {log: [-8, 1]}", "cap is not below 0"),
        ("[]\n    1: 2", "terms or items"),
        ("3", "are a list"),
    ],
)  # fmt: skip
def test_faults_in_a_file_are_named(tmp_path: Path, terms: str, message: str) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(f"env: luanti\nrewards:\n  mine:\n    task: explore\n    terms: {terms}\n")
    with pytest.raises(UserError, match=message):
        load_reward(file)


def test_all_faults_come_at_once_and_other_games_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(
        "env: luanti\nrewards:\n  mine:\n    task: explor\n    steps: -1\n    terms: [{success: x}, {fly: 1}]\n"
    )
    with pytest.raises(UserError, match="4 faults"):
        load_reward(file)
    (tmp_path / "broken.yaml").write_text("env: luanti\nrewards:\n  mine: [success: 1\n")
    with pytest.raises(UserError, match="file of rewards is not YAML") as found:
        load_reward(f"{tmp_path / 'broken.yaml'}:mine")
    assert "broken.yaml:4" in str(found.value)
    assert "\n  in " not in str(found.value)
    with pytest.raises(UserError, match="another game"):
        load_reward(file, "minecraft")
    with pytest.raises(UserError, match="no such reward") as found:
        load_reward("dig_dirth")
    assert "dig_dirt" in str(found.value)
    with pytest.raises(UserError, match="were not found"):
        load_reward(tmp_path / "none.yaml")
