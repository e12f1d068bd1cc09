"""The recorder without a game: the contractors' format, whole or absent files, resuming, dying games."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steve1 import actions
from steve1.commands.data import generate_dataset, record_minecraft
from steve1.commands.data import record as command
from steve1.core.errors import UserError
from steve1.core.paths import ROOT
from steve1.data.episodes.episode import Episode, find_episodes
from steve1.data.media.video import frame_times, probe, read_frames
from steve1.data.recordings.contractor import ContractorRecording
from steve1.data.recordings.convert import ConvertSettings
from steve1.data.recordings.convert_folder import convert_folder
from steve1.data.recordings.recording import Tree
from steve1.data.recordings.shards import alone_in
from steve1.envs.interface import GameDied
from steve1.evaluation.tasks.suite import load_suite
from steve1.rollout.players import behaviour, make_player
from steve1.rollout.record import FORMAT, TickWriter, demonstration, is_recorded, record, whole_pixels
from tests.rollout.fakes import interrupt_at_frame
from tests.rollout.players.test_players import Plain

SUITE = load_suite("luanti")
MINI = ROOT / "data" / "mini" / "mini.weights"


class PlainGame:
    """`Plain` as an environment; frame n is of brightness n."""

    def __init__(self, die_at: int = -1) -> None:
        self.die_at, self.draw_pointer, self.restarts, self.resets = die_at, True, 0, 0

    def _look(self) -> tuple[dict[str, Any], dict[str, Any]]:
        obs, info = self.world.look()
        obs["pov"] = np.full((36, 64, 3), min(self.step_number, 255), np.uint8)
        return obs, {**info, "game_tick": self.step_number}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        assert options is not None
        self.world, self.step_number = Plain(options.get("pitch", 0.0)), 0
        self.resets += 1
        return self._look()

    def step(self, action: dict[str, Any]) -> Any:
        self.step_number += 1
        if self.step_number == self.die_at:
            self.die_at = -1
            raise GameDied("The game does not run any more.")
        self.world.step(action)
        return (*self._look()[:1], 0.0, False, False, self._look()[1])

    def restart(self) -> None:
        self.restarts += 1

    def close(self) -> None:
        self.world = None  # type: ignore[assignment]


def test_ticks_are_read_back_as_the_actions_that_were_made() -> None:
    world, player, writer = Plain(), make_player("build_pillar", 0), TickWriter()
    player.reset(*world.look())
    made, lines = [], []
    for number in range(120):
        action = whole_pixels({**player.act(*world.look()), **({"hotbar.3": 1} if number == 40 else {})})
        lines.append(json.loads(json.dumps(writer.tick(number, *world.look(), action))))
        made.append({**actions.null_action(), **action})
        world.step(action)
    back, _ = actions.from_contractor(lines)
    for ours, theirs in zip(made, back):
        assert np.allclose(ours.pop("camera"), theirs.pop("camera"))
        assert ours == theirs
    for key in (
        "mouse",
        "keyboard",
        "isGuiOpen",
        "hotbar",
        "yaw",
        "pitch",
        "xpos",
        "ypos",
        "zpos",
        "tick",
        "milli",
        "inventory",
        "serverTick",
        "stats",
    ):
        assert key in lines[0]
    presses = [n for n, line in enumerate(lines) if 1 in line["mouse"]["newButtons"]]
    assert presses
    assert all(1 not in lines[n - 1]["mouse"]["buttons"] for n in presses)


class Digger:
    """Holds attack from the first tick on, as a policy that digs does."""

    who = "player"
    steps = 0

    def reset(self, *_: Any) -> None:
        """Nothing to forget."""

    def act(self, *_: Any) -> dict[str, Any]:
        return {**actions.null_action(), "attack": 1}


@pytest.mark.parametrize("as_before", [False, True])
def test_an_attack_held_from_the_first_tick_is_kept_by_conversion(tmp_path: Path, as_before: bool) -> None:
    """Recordings of before named the first press as new, which VPT's recorder does where attack is stuck."""
    record(
        PlainGame(), Digger(), 50, tmp_path / "dig" / "e_000", behaviour="dig_dirt", judge=lambda trace: (True, 1.0),
        reset_options={}, seed=0,
    )  # type: ignore[arg-type]  # fmt: skip
    path = tmp_path / "dig" / "e_000.jsonl"
    if as_before:
        first, *rest = path.read_text().splitlines()
        tick = json.loads(first)
        tick["mouse"]["newButtons"] = [0]
        path.write_text("\n".join([json.dumps(tick), *rest]) + "\n")
    (found,), _ = ContractorRecording.find(Tree(tmp_path / "dig"))
    ticks = found.read_ticks()
    assert sum(action["attack"] for action in ticks.actions) == 50
    assert ticks.keep.all()


def test_a_recording_says_what_is_a_disturbance_and_conversion_does_not_have_it_imitated(tmp_path: Path) -> None:
    options, seed, player = demonstration(behaviour("look_at_sky"), 0, 0)
    record(
        PlainGame(), player, 200, tmp_path / "sky" / "e_000", behaviour="look_at_sky", judge=SUITE.tasks["look_at_sky"].judge,
        reset_options=options, seed=seed,
    )  # type: ignore[arg-type]  # fmt: skip
    lines = [json.loads(line) for line in (tmp_path / "sky" / "e_000.jsonl").read_text().splitlines()]
    chance = np.array([line["who"] == "disturbance" for line in lines])
    assert {line["who"] for line in lines} == {"player", "disturbance"}
    assert chance[:15].all()
    assert chance[15:].any()
    convert_folder(tmp_path / "sky", tmp_path / "dataset", ConvertSettings(keep_nulls=True))
    (episode,) = find_episodes(tmp_path / "dataset")
    np.testing.assert_array_equal(Episode(episode).imitated, ~chance)


def test_frame_i_is_what_was_seen_before_action_i(tmp_path: Path) -> None:
    options, seed, player = demonstration(behaviour("explore"), 0, 0)
    done = record(
        PlainGame(),
        player,
        60,
        tmp_path / "e_000",
        behaviour="explore",
        judge=SUITE.tasks["explore"].judge,
        captions=["x"],
        reset_options=options,
        seed=seed,
    )  # type: ignore[arg-type]
    assert done.kept
    assert is_recorded(tmp_path / "e_000")
    frames = list(read_frames(tmp_path / "e_000.mp4"))
    assert len(frames) == 60
    assert [abs(float(frame.mean()) - n) < 3 for n, frame in enumerate(frames)].count(False) == 0
    ticks = [json.loads(line) for line in (tmp_path / "e_000.jsonl").read_text().splitlines()]
    assert [tick["tick"] for tick in ticks] == list(range(60))
    assert ticks[0]["pitch"] == options["pitch"]
    kept = json.loads((tmp_path / "e_000-options.json").read_text())
    assert kept["reset"] == options
    assert kept["behaviour"] == "explore"
    assert kept["captions"] == ["x"]
    assert probe(tmp_path / "e_000.mp4").fps == 20
    assert not list(tmp_path.glob(".*"))


def test_failed_episodes_leave_nothing_when_only_good_ones_are_wanted(tmp_path: Path) -> None:
    options, seed, player = demonstration(behaviour("swim"), 0, 0)
    done = record(
        PlainGame(), player, 40, tmp_path / "s", behaviour="swim", judge=SUITE.tasks["swim"].judge, captions=["x"], reset_options=options, seed=seed, only_successful=True,  # type: ignore[arg-type]
    )  # fmt: skip
    assert not done.success
    assert not done.kept
    assert list(tmp_path.iterdir()) == []


def test_a_dying_game_leaves_nothing_half_written(tmp_path: Path) -> None:
    options, seed, player = demonstration(behaviour("explore"), 0, 0)
    with pytest.raises(GameDied):
        record(
            PlainGame(30),
            player,
            60,
            tmp_path / "e",
            behaviour="explore",
            judge=SUITE.tasks["explore"].judge,
            captions=["x"],
            reset_options=options,
            seed=seed,
        )  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_waits_until_a_tick_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame that the encoder gives back meanwhile would be missing, and those after it stand beside the wrong actions."""
    interrupt_at_frame(monkeypatch, 80)
    more: dict[str, Any] = {"behaviour": "mine", "reset_options": {}, "judge": lambda trace: (True, 0.0)}
    with pytest.raises(KeyboardInterrupt):
        record(PlainGame(), Digger(), 200, tmp_path / "mine-0000", **more, keep_cut_off=True)  # type: ignore[arg-type]
    lines = (tmp_path / "mine-0000.jsonl").read_text().splitlines()
    assert probe(tmp_path / "mine-0000.mp4").frames == len(lines) == 80
    assert np.diff(frame_times(tmp_path / "mine-0000.mp4")[1]) == pytest.approx(0.05)


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), GameDied("The game does not run any more.")])
def test_what_a_person_played_is_kept_where_it_was_cut_off(
    tmp_path: Path, fault: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Person(Digger):
        def __init__(self, ticks: int) -> None:
            self.left = ticks

        def act(self, obs: Any, info: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                raise fault
            return super().act(obs, info)

    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(record_minecraft, "WorkerEnv", PlainGame)
    monkeypatch.setattr(record_minecraft, "make_env", lambda *_, **more: contextlib.nullcontext(PlainGame()))
    for ticks in (50, 20):  # what is too short to hold a goal is not kept
        monkeypatch.setattr(record_minecraft, "HumanPlayer", lambda env, ticks=ticks: Person(ticks))
        with pytest.raises(type(fault)):
            record_minecraft.main(record_minecraft.Args("mine", folder=str(tmp_path / "out")))
    assert len(list((tmp_path / "out").iterdir())) == 3
    assert is_recorded(tmp_path / "out" / "mine-0000")
    lines = (tmp_path / "out" / "mine-0000.jsonl").read_text().splitlines()
    assert probe(tmp_path / "out" / "mine-0000.mp4").frames == len(lines) == 50
    options = json.loads((tmp_path / "out" / "mine-0000-options.json").read_text())
    assert (options["env"], options["steps"], options["success"]) == ("mcio", 50, None)
    assert f"kept up to there: {tmp_path / 'out' / 'mine-0000.mp4'}" in capsys.readouterr().out


def test_demonstrations_are_a_function_of_their_numbers() -> None:
    one, two = demonstration(behaviour("chop_tree"), 0, 3), demonstration(behaviour("chop_tree"), 0, 3)
    assert one[:2] == two[:2]
    assert one[0] != demonstration(behaviour("chop_tree"), 0, 3, attempt=1)[0]
    starts = [demonstration(behaviour("explore"), 0, n)[0] for n in range(24)]
    assert len({options["start"]["id"] for options in starts}) == 24
    assert all(options["start"]["split"] == "demo" for options in starts)
    assert np.ptp([options["pitch"] for options in starts]) > 90


def test_demonstrations_leave_out_the_first_places() -> None:
    left = {f"forest_eval_{number:03d}" for number in range(21, 31)}
    found = [
        demonstration(behaviour("chop_tree"), 0, n, split="eval", first_place=20)[0]["start"]["id"] for n in range(12)
    ]
    assert set(found[:10]) == left
    assert set(found[10:]) <= left


def test_behaviours_take_turns() -> None:
    args = command.Args("x", behaviours=("explore", "dig_dirt=2", "swim=1"), episodes=4)
    tasks = command.plan(args, command.cast_of(args, 1).counts)
    assert len(tasks) == 7
    assert [n for name, n in tasks if name == "explore"] == [0, 1, 2, 3]
    assert {name for name, _ in tasks[:4]} == {"explore", "dig_dirt", "swim"}
    with pytest.raises(UserError, match="count"):
        command.cast_of(command.Args("x", behaviours=("explore=many",)), 1)
    with pytest.raises(UserError, match="Unknown"):
        command.cast_of(command.Args("x", behaviours=("fly",)), 1)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"behaviours": "build_pillar=3", "n_episodes": 12}, "build_pillar 3"),
        ({"behaviours": "dig_dirt explore=2", "n_episodes": 4}, "dig_dirt 4, explore 2"),
        (
            {"source": "policy", "weights": str(MINI), "prompts": "look at the sky=2; explore;", "n_episodes": 5},
            "look at the sky 2, explore 5",
        ),
    ],
)
def test_what_is_recorded_is_said_with_its_numbers(
    given: dict[str, Any],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Begun(Exception):
        pass

    def begin(*_: Any) -> None:
        raise Begun

    monkeypatch.setattr(generate_dataset, "record", begin)
    with pytest.raises(Begun):
        generate_dataset.main(generate_dataset.Args(output_dir=str(tmp_path / "out"), **given))
    assert f"recording demonstrations: {said}\n" in capsys.readouterr().out


@pytest.mark.e2e
def test_a_policy_records_what_it_succeeds_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a game it goes nowhere: a prompt without a task is kept whatever happens, exploring never."""
    monkeypatch.setattr(command, "make_env", lambda *args, **more: PlainGame())
    weights = str(Path(command.__file__).parents[3] / "data/mini/mini.weights")
    chosen = {"weights": weights, "steps": 40, "workers": 1, "attempts": 2, "device": "cpu"}
    args = command.Args(str(tmp_path), prompts=("explore=3", "walk about"), episodes=2, **chosen)  # type: ignore[arg-type]
    assert command.main(args) == 0
    assert sorted(file.name for file in tmp_path.glob("*.mp4")) == ["walk-about_000.mp4", "walk-about_001.mp4"]
    facts = json.loads((tmp_path / "walk-about_000-options.json").read_text())
    assert (facts["captions"], facts["env"], facts["split"]) == (["walk about"], "luanti", "demo")
    assert len(facts["weights_sha256"]) == 64
    assert "given up after 2 attempts" in capsys.readouterr().out
    lines = [json.loads(line) for line in (tmp_path / "walk-about_000.jsonl").read_text().splitlines()]
    assert len(lines) == 40
    again = tmp_path / "again"
    command.main(command.Args(str(again), prompts=("walk about",), episodes=1, **chosen))  # type: ignore[arg-type]
    assert (again / "walk-about_000.jsonl").read_text() == (tmp_path / "walk-about_000.jsonl").read_text()
    assert command.main(command.Args(str(tmp_path / "none"), prompts=("explore",), episodes=1, **chosen)) == 1  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no prompt is given"):
        command.main(command.Args(str(tmp_path / "x"), **chosen))  # type: ignore[arg-type]


def test_the_command_resumes_and_restarts_a_dead_game(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    games: list[PlainGame] = []

    def open_game(*args: Any, **more: Any) -> PlainGame:
        games.append(PlainGame(die_at=20 if not games else -1))
        return games[-1]

    monkeypatch.setattr(command, "make_env", open_game)
    args = command.Args(str(tmp_path / "out"), behaviours=("explore", "look_at_sky"), episodes=2, steps=200, workers=1)
    assert command.main(args) == 0
    assert len(games) == 2, "the first one died"
    files = sorted((tmp_path / "out").glob("*.mp4"))
    assert [file.stem for file in files] == ["explore_000", "explore_001", "look_at_sky_000", "look_at_sky_001"]
    stamps = [file.stat().st_mtime_ns for file in files]
    files[1].unlink()
    assert command.main(args) == 0
    assert games[2].resets == 1
    assert [file.stat().st_mtime_ns for n, file in enumerate(files) if n != 1] == [
        s for n, s in enumerate(stamps) if n != 1
    ]
    assert "3 of 4 recordings exist already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": 60}, "explore_000, explore_001: made with steps 40 (now 60)"),
        ({"seed": 5}, "explore_000, explore_001: made with seed 0 (now 5)"),
        ({"steps": 60, "seed": 5, "split": "eval"}, "steps 40 (now 60), seed 0 (now 5), split demo (now eval)"),
        ({"behaviours": ("look_at_sky",)}, "explore_000, explore_001: not asked for now"),
        ({"behaviours": ("explore=1",)}, "explore_001: not asked for now"),
        ({"only_successful": True}, ": not successful; they stay as they are"),
    ],
)
def test_recordings_made_otherwise_are_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    said: str,
) -> None:
    monkeypatch.setattr(command, "make_env", lambda *args, **more: PlainGame())
    args = command.Args(
        str(tmp_path / "out"), behaviours=("explore",), episodes=2, steps=40, workers=1, only_successful=False
    )
    assert command.main(args) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert command.main(args) == 0
    assert "note" not in capsys.readouterr().out, "nothing has changed"
    command.main(dataclasses.replace(args, **changes))
    text = capsys.readouterr().out
    assert said in text
    assert "another OUTPUT_DIR" in text
    assert before.items() <= {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}.items()


def test_corrections_that_were_taken_over_at_other_steps_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "make_env", lambda *args, **more: PlainGame())
    args = command.Args(str(tmp_path), behaviours=("explore",), episodes=1, steps=40, workers=1, only_successful=False)
    assert command.main(args) == 0
    options = tmp_path / "explore_000-options.json"
    options.write_text(json.dumps({**json.loads(options.read_text()), "takeover": [40, 160]}))
    assert command.main(args) == 0
    assert "explore_000: made with takeover [40, 160] (now none)" in capsys.readouterr().out


@pytest.mark.parametrize(
    "names", [(".mp4",), (".jsonl",), (".jsonl", ".mp4"), ("-options.json",), ("-options.json", ".mp4")]
)
def test_files_of_the_users_are_not_replaced_by_a_recording(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (tmp_path / f"explore_000{name}").write_text("{}")
    with pytest.raises(UserError, match="not a whole recording"):
        command.main(command.Args(str(tmp_path), behaviours=("explore",), episodes=1))
    assert [(tmp_path / f"explore_000{name}").read_text() for name in names] == ["{}"] * len(names)


def test_what_a_killed_recorder_left_is_made_anew(tmp_path: Path) -> None:
    """The three files get their names one after the other, the options first."""
    for name in ("-options.json", ".jsonl"):
        assert not is_recorded(tmp_path / "explore_000")
        (tmp_path / f"explore_000{name}").write_text(json.dumps({"format": FORMAT}))
    assert not is_recorded(tmp_path / "explore_000")


def test_two_recorders_do_not_share_a_folder(tmp_path: Path) -> None:
    with alone_in(tmp_path, work="record"), pytest.raises(UserError, match="Another run"):
        command.main(command.Args(str(tmp_path)))


def test_too_short_recordings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="short"):
        command.main(command.Args(str(tmp_path / "x"), steps=10))
    assert not (tmp_path / "x").exists()
