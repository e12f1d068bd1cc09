"""What a run is to keep by default, what it will take, and which machines it asks for."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from steve1.core.errors import UserError
from steve1.core.files import sha256_file, write_json
from steve1.core.paths import ROOT
from steve1.evaluation.runner.known import known_successes
from steve1.evaluation.runner.plan import AGAIN
from steve1.policy import write_model
from steve1.rl import player
from steve1.rl.inputs import MOST_UNKNOWN, Inputs
from steve1.rl.player import gpu_share
from steve1.rl.settings import RlSettings
from tests.training.conftest import TINY

MINI = str(ROOT / "data/mini/mini.weights")


@pytest.fixture
def made(tmp_path: Path) -> RlSettings:
    """Of weights whose metadata says nothing."""
    write_model(TINY, tmp_path / "tiny.model")
    (tmp_path / "own.weights").write_bytes(b"weights")
    write_json(tmp_path / "own.weights.json", {"model": str(tmp_path / "tiny.model"), "env": "luanti"})
    return RlSettings(in_weights=str(tmp_path / "own.weights"))


def said(settings: RlSettings, **changes: Any) -> None:
    """Change what the metadata of the weights says."""
    path = Path(settings.in_weights + ".json")
    write_json(path, json.loads(path.read_text()) | changes)


def results(folder: Path, sha256: str, won: dict[str, int], of: int = 4) -> str:
    """An evaluation in which weights won so many of so many episodes of each task."""
    write_json(
        folder / "settings.json", {"contestants": [{"name": "w", "sha256": sha256}, {"name": "other", "sha256": "1"}]}
    )
    lines = [
        {"key": f"{name}/{task}/{n}", "contestant": name, "row": task, "success": {task: name == "other" or n < many}}
        for name in ("w", "other") for task, many in won.items() for n in range(of)
    ]  # fmt: skip
    (folder / "episodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(folder)


def test_the_mini_weights_keep_what_they_can_do() -> None:
    """As data/mini/results says: not what they never do, and what is of a higher level too."""
    found = Inputs(RlSettings(in_weights=MINI, reward="look_at_sky"))
    assert list(found.keep_tasks) == ["explore", "build a pillar", "swim", ""]
    assert found.keep_reason == "in data/mini/results these weights succeed at least in every second episode"
    assert "look at the sky" in Inputs(RlSettings(in_weights=MINI, reward="dig_dirt")).keep_tasks


def test_known_success_of_the_weights_then_of_their_base_then_what_they_were_trained_on(
    made: RlSettings, tmp_path: Path
) -> None:
    won = {"dig_dirt": 4, "swim": 2, "explore": 1, "build_pillar": 4}
    known = results(tmp_path / "known", sha256_file(made.in_weights), won)
    own = dataclasses.replace(made, known_results=known, reward="dig_dirt")
    assert list(Inputs(own).keep_tasks) == ["build a pillar", "swim", ""]
    base = dataclasses.replace(own, known_results=results(tmp_path / "base", "b", won))
    said(made, hashes={"in_weights": "b"}, trained_on=["explore", "dig_dirt"])
    assert list(Inputs(base).keep_tasks) == ["build a pillar", "swim", ""]
    assert "come from" in Inputs(base).keep_reason
    said(made, hashes={})
    assert list(Inputs(base).keep_tasks) == ["explore", ""]
    assert "trained on them" in Inputs(base).keep_reason
    said(made, trained_on=["dig_dirt"])  # the task itself is nothing to keep
    unknown = Inputs(base)
    assert len(unknown.keep_tasks) == MOST_UNKNOWN + 1
    assert "nothing is known" in unknown.keep_reason
    assert all(task.level == 1 for task in unknown.keep_tasks.values())
    with pytest.raises(UserError, match="holds no results of an evaluation"):
        Inputs(dataclasses.replace(made, known_results=str(tmp_path)))


def test_neither_failures_filmed_again_nor_other_goals_count_as_known(made: RlSettings, tmp_path: Path) -> None:
    """Two of four succeed; the two failures were played again, and shown the goal the weights never succeed."""
    digest = sha256_file(made.in_weights)
    known = Path(results(tmp_path / "known", digest, {"swim": 2}))
    found = json.loads((known / "settings.json").read_text())
    found["contestants"].append({"name": "w+shown", "sha256": digest, "goal": "shown"})
    write_json(known / "settings.json", found)
    lines = [json.loads(line) for line in (known / "episodes.jsonl").read_text().splitlines()]
    own = [line for line in lines if line["contestant"] == "w"]
    lines += [{**line, "key": line["key"] + AGAIN} for line in own if not line["success"]["swim"]]
    shown = {"contestant": "w+shown", "success": {"swim": False}}
    lines += [{**line, **shown, "key": f"shown/{line['key']}"} for line in own]
    (known / "episodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert known_successes(known, digest) == {"swim": (2, 4)}
    assert list(Inputs(dataclasses.replace(made, known_results=str(known))).keep_tasks) == ["swim", ""]


def test_named_prompts_are_kept_and_nothing_else() -> None:
    found = Inputs(RlSettings(in_weights=MINI, keep_prompts="explore; fly"))
    assert list(found.keep_tasks) == ["explore", "fly"]
    assert not found.keep_reason


def test_the_prompt_that_is_trained_is_not_kept_as_it_was() -> None:
    """Its episodes would begin as those of its own task, without what the reward's task puts into the hand."""
    settings = RlSettings(in_weights=MINI, reward="build_pillar", prompt="explore")
    found = Inputs(settings)
    assert list(found.keep_tasks) == ["look at the sky", "swim", ""]
    for prompts in ("swim; explore", "探索"):
        with pytest.raises(UserError, match="cannot be kept"):
            Inputs(dataclasses.replace(settings, keep_prompts=prompts))


def test_a_run_does_not_go_on_with_other_prompts_to_keep(made: RlSettings, tmp_path: Path) -> None:
    """Where --known_results chooses others."""
    digest = sha256_file(made.in_weights)
    first = Inputs(dataclasses.replace(made, known_results=results(tmp_path / "a", digest, {"swim": 4})))
    other = Inputs(dataclasses.replace(made, known_results=results(tmp_path / "b", digest, {"explore": 4})))
    moved = Inputs(dataclasses.replace(made, known_results=results(tmp_path / "c", digest, {"swim": 3})))
    assert other.differences(first.record(), other.record()) == ["keep_prompts: ['swim', ''] then, ['explore', ''] now"]
    assert moved.differences(first.record(), moved.record()) == []


def test_minutes_follow_the_network_and_disk_holds_the_traces(made: RlSettings) -> None:
    small = Inputs(
        dataclasses.replace(made, steps=200, films_every=0, keep_prompts="", iterations=10, places=4, group=10)
    ).estimate()
    mini = Inputs(
        RlSettings(in_weights=MINI, steps=200, films_every=0, keep_prompts="", iterations=10, places=4, group=10)
    ).estimate()
    assert (small.episodes, small.frames) == (400, 80_000)
    assert mini.minutes == pytest.approx(400 * (2.3 + 200 * 0.024) / 2 / 60, rel=0.01), "measured: 24 ms a step"
    two = Path(made.in_weights).with_name("tiny.model")
    write_model(dataclasses.replace(TINY, impala_width=TINY.impala_width * 16), two)
    assert Inputs(dataclasses.replace(made, steps=200, keep_prompts="")).estimate().minutes > small.minutes
    # Two iterations' rollouts, all traces (of 200 steps in Luanti 3.1 kB of arrays and 0.35 of facts), the weights played and written, the state.
    measured = 2 * 40 * 0.2165 + 400 * 0.0035 + 2 * 15.1 + 32.4
    assert mini.megabytes == pytest.approx(measured, rel=0.1)


def test_an_episode_has_time_for_its_steps(made: RlSettings) -> None:
    for steps, seconds in ((100, 900), (12_000, 36_300)):
        assert Inputs(dataclasses.replace(made, steps=steps)).timeout_s == seconds
    assert Inputs(dataclasses.replace(made, steps=100, timeout_s=5.0)).timeout_s == 5


@pytest.mark.parametrize(
    ("settings", "gpus", "share"),
    [
        ({"workers": 4, "device": "auto"}, 0, 0),
        ({"workers": 4, "device": "cpu"}, 2, 0),
        ({"workers": 2, "device": "auto"}, 2, 1),
        ({"workers": 3, "device": "auto"}, 2, 0.5),  # two thirds would leave the third without room
        ({"workers": 32, "device": "cuda"}, 4, 0.125),
        ({"workers": 3, "device": "cuda"}, 1, 0.3333),
        ({"workers": 2, "device": "cuda"}, 0, 1),  # Ray then says what is missing
    ],
)
def test_players_on_a_cluster_share_its_gpus(
    settings: dict[str, Any], gpus: int, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(player, "cluster_resources", lambda: {"CPU": 64.0, **({"GPU": float(gpus)} if gpus else {})})
    assert gpu_share(RlSettings(ray=True, **settings)) == share
    assert gpu_share(RlSettings(**settings)) == 0
