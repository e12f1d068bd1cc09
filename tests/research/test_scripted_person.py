"""The scripted person: what it sends over the socket is what is recorded; and the two arms of rounds that it plays in."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("websockets", reason="websockets is not installed")
from research import correction_rounds, scripted_person
from steve1 import actions
from steve1.core.files import write_json
from steve1.evaluation.tasks.suite import load_suite
from steve1.live.session import Session, SessionSettings
from steve1.rollout.players.player import Player, Script
from steve1.rollout.supervise import SupervisedEnv
from tests.live.worlds import Agent, Encoder, LiveGoals, suite
from tests.rollout.fakes import FakeEnv, fake_starts


class Digs(Player):
    """Turns, then digs."""

    def behave(self) -> Script:
        for number in range(10):
            yield {"camera": [0.6, -1.65], "forward": number % 2}
        while True:
            yield {"attack": 1}


class Idles(Player):
    """Does nothing of use."""

    def behave(self) -> Script:
        while True:
            yield {"back": 1}


class NowAndThen(Agent):
    """Digs all the time in every second world; elsewhere one dirt, and then it stands still."""

    def act(self, frame: Any, goal: Any) -> dict[str, Any]:
        self.seen += 1
        digs = self.resets % 2 == 0 or self.seen <= 5
        return actions.null_action() | {"attack": int(digs)}

    def reset(self, seed: int | None = None) -> None:
        super().reset(seed)
        self.seen = 0


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Sessions of a fake game in place of Luanti's; the policy stands still and turns, or is the one that the test names."""
    agent = getattr(request, "param", Agent)

    @contextlib.contextmanager
    def make_session(args: Any, *, source: Any, rate: float, options: Any) -> Iterator[Session]:
        settings = SessionSettings(
            env="luanti", title="fake", folder=Path(args.folder), recordings=Path(args.recordings), seed=args.seed, options=options,
            starts=lambda biome: fake_starts("luanti", biome, "demo"),
        )  # fmt: skip
        goals = LiveGoals(Encoder(), compare=False)  # type: ignore[arg-type]
        yield Session(
            settings, SupervisedEnv(FakeEnv), suite(), agent=agent(), goals=goals, prompt=args.prompt, source=source, rate=rate  # type: ignore[arg-type]
        )  # fmt: skip

    monkeypatch.setattr(scripted_person.live, "make_session", make_session)
    monkeypatch.chdir(tmp_path)
    return


def asked(tmp_path: Path, **more: Any) -> scripted_person.Args:
    options = {"weights": "x", "prompt": "dig dirt", "recordings": str(tmp_path / "takes"), "steps": 70, "rate": 2000.0}
    return scripted_person.Args(**(options | more))


def who_acted(recording: Path) -> list[str]:
    return [json.loads(line)["who"] for line in recording.read_text().splitlines()]


@pytest.mark.e2e
@pytest.mark.parametrize("fake", [NowAndThen], indirect=True)
def test_what_the_player_does_is_what_is_recorded(fake: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripted_person, "make_player", lambda name, seed: Digs(seed))
    args = asked(tmp_path, count=2, steps=50, patience=20)
    scripted_person.main(args)
    recordings = sorted((tmp_path / "takes").glob("*.jsonl"))
    assert len(recordings) == 2
    for recording in recordings:
        ticks = [json.loads(line) for line in recording.read_text().splitlines()]
        who = [tick["who"] for tick in ticks]
        moment = who.index("person")
        assert 28 <= moment <= 31
        assert set(who[:moment]) == {"policy"}
        assert set(who[moment:]) == {"person"}
        quiet, played = ticks[moment], ticks[moment + 1 :]
        assert not quiet["keyboard"]["keys"]
        assert [(tick["mouse"]["dx"], tick["mouse"]["dy"]) for tick in played[:10]] == [(-11.0, 4.0)] * 10
        assert ["key.keyboard.w" in tick["keyboard"]["keys"] for tick in played[:10]] == [False, True] * 5
        assert all(tick["mouse"]["buttons"] == [0] for tick in played[10:-1])
        assert 79 <= len(ticks) <= 81
        assert json.loads(Path(f"{str(recording)[:-6]}-options.json").read_text())["success"] is True
    scripted_person.main(args)  # there are enough
    assert len(list((tmp_path / "takes").glob("*.mp4"))) == 2


@pytest.mark.e2e
@pytest.mark.parametrize("fake", [NowAndThen], indirect=True)
def test_a_person_with_patience_takes_over_where_the_policy_gets_stuck_and_nowhere_else(
    fake: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripted_person, "make_player", lambda name, seed: Digs(seed))
    scripted_person.main(asked(tmp_path, count=2, steps=60, patience=40))
    corrected = [who_acted(path) for path in sorted((tmp_path / "takes").glob("*.jsonl"))]
    assert len(corrected) == 2
    for who in corrected:  # the one dirt is noticed at tick 10
        assert 48 <= who.index("person") <= 51
        assert 59 <= who.count("person") <= 61
        assert set(who[who.index("person") :]) == {"person"}
    alone = [who_acted(path) for path in sorted((tmp_path / "takes_failed").glob("*.jsonl"))]
    assert len(alone) == 1, "the world between the two"
    assert set(alone[0]) == {"policy"}
    assert len(alone[0]) <= 31, "it ends with its success"


@pytest.mark.parametrize(("speed", "stuck"), [(-1.0, False), (1.0, True), (0.0, True)])
def test_a_measure_that_is_to_be_small_is_better_when_it_falls(speed: float, stuck: bool) -> None:
    env = FakeEnv()
    obs, info = env.reset(seed=0)
    watch = scripted_person.Watch(load_suite("luanti").find("look at the sky"), 30, obs, info)
    for tick in range(40):
        obs["location_stats"]["pitch"] = speed * tick  # negative looks up
        watch.look(actions.null_action(), obs, info)
    assert watch.stuck is stuck


@pytest.mark.e2e
@pytest.mark.parametrize("fake", [NowAndThen], indirect=True)
def test_a_policy_that_is_never_stuck_ends_it(fake: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripted_person, "make_player", lambda name, seed: Digs(seed))
    monkeypatch.setattr(scripted_person, "_MOST_WATCHED", 2)
    with pytest.raises(scripted_person.UserError, match="stuck too seldom"):
        scripted_person.main(asked(tmp_path, count=1, patience=400))  # longer than the task


@pytest.mark.e2e
def test_episodes_that_fail_are_put_aside_and_it_gives_up(
    fake: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripted_person, "make_player", lambda name, seed: Idles(seed))
    with pytest.raises(scripted_person.UserError, match="too seldom"):
        scripted_person.main(asked(tmp_path, count=1, patience=0))
    assert not list((tmp_path / "takes").glob("*.mp4"))
    assert len(list((tmp_path / "takes_failed").glob("*.mp4"))) == 3


def recording(prefix: Path, success: bool | None, who: str = "person") -> None:
    """The three files of a recording; success None: without its options, as a kill leaves one that was being moved; `who` acted last."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    Path(f"{prefix}.mp4").write_bytes(b"x")
    Path(f"{prefix}.jsonl").write_text(f'{{"who": "policy"}}\n{{"who": "{who}"}}\n')
    if success is not None:
        write_json(Path(f"{prefix}-options.json"), {"success": success})


def test_what_a_killed_session_left_counts_only_where_it_succeeded(tmp_path: Path) -> None:
    takes, aside = tmp_path / "takes", tmp_path / "aside"
    for number, success in enumerate((True, False, None)):
        recording(takes / f"dig_dirt-{number:04d}", success)
    recording(takes / "dig_dirt-0003", True, who="policy")
    recording(takes / "another", False)
    recording(aside / "dig_dirt-0000", False)
    (takes / "dig_dirt-0002.jsonl").write_text('{"who": "pers')
    scripted_person.put_aside(takes, aside, "dig_dirt")
    assert sorted(path.name for path in takes.glob("*.mp4")) == ["another.mp4", "dig_dirt-0000.mp4"]
    assert sorted(path.name for path in aside.glob("*.mp4")) == [f"dig_dirt-000{number}.mp4" for number in range(4)]
    assert scripted_person.failures(aside) == 2, "neither the one that was cut nor the one that needed nobody"


def test_recordings_that_failed_are_not_among_those_that_are_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []

    class Session:
        def __init__(self, command: list[str], **more: Any) -> None:
            started.append(command)

        def wait(self) -> int:
            return 0

    monkeypatch.setattr(correction_rounds.subprocess, "Popen", Session)
    folder = tmp_path / "recordings" / "rounds_corrections_1"
    correction_rounds.record(correction_rounds.Args(workers=2, recordings=5), "corrections", 1, "x.weights", folder)
    options = [dict(itertools.pairwise(words)) for words in started]
    assert [each["--count"] for each in options] == ["2", "3"]
    assert [each["--patience"] for each in options] == ["80", "80"]
    for number, each in enumerate(options):
        assert Path(each["--recordings"]) == folder / f"game{number}"
        assert not Path(each["--failed"]).is_relative_to(folder)


def played(path: Path) -> dict[str, dict[str, Any]]:
    """Twenty episodes of each arm: corrections succeed in all, demonstrations in every second."""
    return {
        f"{arm}/{number}": {
            "contestant": f"rounds_{arm}_2", "row": "dig_dirt", "number": number,
            "success": {"dig_dirt": arm == "corrections" or number % 2 == 0}, "measure": {"dig_dirt": 4.0},
        }
        for arm in correction_rounds.ARMS for number in range(20)
    }  # fmt: skip


def test_both_arms_are_trained_alike_from_the_same_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[list[str]] = []
    recorded: list[tuple[Any, ...]] = []

    def step(*words: object, **more: Any) -> None:
        ran.append([str(word) for word in words])
        if words[0] == "dagger_round":
            path = tmp_path / "data" / "dagger" / str(words[1]) / "rounds.json"
            rounds = json.loads(path.read_text())["rounds"] if path.exists() else []
            write_json(path, {"rounds": [*rounds, {"weights": f"{words[1]}_{len(rounds) + 1}"}]})

    monkeypatch.setattr(correction_rounds, "step", step)
    monkeypatch.setattr(correction_rounds, "read_lines", played)
    monkeypatch.setattr(correction_rounds, "record", lambda args, *rest: recorded.append(rest[:3]))
    monkeypatch.chdir(tmp_path)
    weights = tmp_path / "start.weights"
    weights.write_bytes(b"x")
    args = correction_rounds.Args(in_weights=str(weights), rounds=2)
    correction_rounds.main(args)
    assert recorded == [
        ("corrections", 1, str(weights)),
        ("demonstrations", 1, str(weights)),
        ("corrections", 2, "rounds_corrections_1"),
        ("demonstrations", 2, "rounds_demonstrations_1"),
    ]
    learned = [
        [word.replace("demonstrations_", "corrections_") for word in words[1:]]
        for words in ran
        if words[0] == "dagger_round"
    ]
    assert learned[0][1:] == learned[1][1:]
    assert learned[2][1:] == learned[3][1:]
    final, others = ran[-2:]
    assert others[others.index("--tasks") + 1] == "explore"
    assert final[final.index("--weights") + 1 : final.index("--tasks")] == [
        str(weights),
        "rounds_corrections_2",
        "rounds_demonstrations_2",
    ]
    assert "corrections 20 of 20, demonstrations 10: +24 to +73 points, p 0.0009" in capsys.readouterr().out
    before = len(ran)
    correction_rounds.main(dataclasses.replace(args))
    assert [words[0] for words in ran[before:]] == ["evaluate"] * 2, "finished rounds are not played again"


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 8])
def test_no_two_sessions_of_a_measurement_have_one_seed(workers: int) -> None:
    """Nor seeds so close that their episodes, which count on from them, would be the same; two games have those of earlier measurements."""
    args = correction_rounds.Args(workers=workers)
    seeds = sorted(
        correction_rounds.session_seed(args, number, game) for number in range(1, 4) for game in range(workers)
    )
    assert all(after - before >= 100 for before, after in itertools.pairwise(seeds))
    assert correction_rounds.session_seed(correction_rounds.Args(workers=2), 2, 1) == 2500
