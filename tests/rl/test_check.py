"""Checking a reward: what players of known skill earn, rewards that pay for nothing or for failing."""

from __future__ import annotations

from pathlib import Path

import pytest

from steve1.commands.evaluate import check_reward as command
from steve1.core.errors import UserError
from steve1.evaluation.tasks.suite import load_suite
from steve1.rl import check
from steve1.rl.check import CheckedEpisode, agreement, check_reward, objections
from steve1.rl.reward import load_reward, parse_reward
from tests.evaluation.worlds import injected, settings


def episode(player: str, earned: float, success: bool) -> CheckedEpisode:
    return CheckedEpisode(player, "key", 0, earned, {}, success)


GOOD = [
    episode("player:own", 2, True),
    episode("player:own", 1.8, True),
    episode("random", 0.1, False),
    episode("nothing", 0, False),
]


@pytest.mark.parametrize(
    ("episodes", "objection"),
    [
        (GOOD, ""),
        ([*GOOD, episode("nothing", 1.0, False)], "Doing nothing earns"),
        ([*GOOD, episode("random", 5, False), episode("random", 5, False)], "A failure out-earns a success in 50 %"),
        (GOOD[:2], "Every episode succeeded"),
        (GOOD[2:], "Every episode failed"),
    ],
)  # fmt: skip
def test_what_speaks_against_a_reward(episodes: list[CheckedEpisode], objection: str) -> None:
    found = objections(load_reward("dig_dirt"), episodes)
    assert [objection in each for each in found] == [True] * bool(objection)


def test_agreement_counts_ties_as_half() -> None:
    assert agreement(GOOD) == 1
    assert agreement([episode("a", 1, True), episode("a", 1, False)]) == 0.5
    assert agreement(GOOD[:2]) != agreement(GOOD[:2])


def test_a_reward_is_checked_on_played_episodes(world: Path) -> None:
    suite = load_suite(world / "suite.yaml")
    good = parse_reward(
        "dig_dirt",
        {"terms": [{"items": {"kind": "item_gained", "names": ["dirt"]}, "each": 0.25, "most": 4}, {"success": 1}]},
        suite,
        "here",
    )
    chosen = settings(world, "tuned", "nothing", "random", tasks=("dig_dirt",))
    found = check_reward(good, chosen, film=False, inputs=injected(("tuned",)))
    assert found.players == ["tuned", "nothing", "random"]
    assert found.objections == []
    assert {each.earned for each in found.episodes if each.player == "tuned"} == {2.0}
    short = parse_reward("dig_dirt", {"steps": 16, "terms": [{"step": 1.0}]}, suite, "here")
    chosen = settings(world, "tuned", "nothing", "random", tasks=("dig_dirt",), folder=str(world / "short"))
    paid = check_reward(short, chosen, film=False, inputs=injected(("tuned",)))
    assert {each.earned for each in paid.episodes} == {16.0}
    assert len(paid.objections) == 2
    long = parse_reward("dig_dirt", {"steps": 55, "terms": [{"step": 1.0}]}, suite, "here")
    chosen = settings(world, "tuned", "nothing", "random", tasks=("dig_dirt",), folder=str(world / "long"))
    paid = check_reward(long, chosen, film=False, inputs=injected(("tuned",)))
    assert {each.earned for each in paid.episodes} == {55.0}, (
        "played for the reward's own number of steps, which the task ends before"
    )


def test_episodes_without_the_likeness_are_named(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reward that gets a likeness, or other prompts of it, after it was checked."""
    suite = load_suite(world / "suite.yaml")
    chosen = settings(world, "tuned", "nothing", tasks=("dig_dirt",))
    inputs = injected(("tuned",))
    before = parse_reward("dig_dirt", {"terms": [{"success": 1}]}, suite, "here")
    check_reward(before, chosen, film=False, inputs=inputs)
    likeness = {"likeness": {"to": "dig dirt", "against": ["swim"]}, "pays": 1}
    after = parse_reward("dig_dirt", {"terms": [likeness, {"success": 1}]}, suite, "here")
    monkeypatch.setattr(check, "_with_likeness", lambda reward, settings: inputs)
    with pytest.raises(UserError, match="before the reward had this likeness") as caught:
        check_reward(after, chosen, film=False, inputs=inputs)
    assert "dig dirt, swim" in str(caught.value)


@pytest.mark.game
def test_the_command_in_the_game(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = command.Args(reward="look_at_sky", episodes=1, folder=str(tmp_path / "run"), workers=1, film=False)
    command.main(args)
    shown = capsys.readouterr().out
    assert "| player:own" in shown
    assert "ready" in shown
