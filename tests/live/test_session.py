"""A session over a fake game: who acts, what is recorded, and what happens when something breaks."""

from __future__ import annotations

import errno
import io
import itertools
import json
import os
import signal
import sys
import threading
import time
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steve1.core.errors import UserError
from steve1.data.episodes.episode import Episode
from steve1.data.media.video import frame_times, probe
from steve1.data.recordings.convert import ConvertSettings
from steve1.data.recordings.convert_folder import convert_folder
from steve1.live import recorder
from steve1.live import session as live_session
from steve1.live.goals import LiveGoals
from steve1.live.prompts import PromptSource, open_planner, read_chain
from steve1.live.screen import Screen
from steve1.mineclip.model import EpisodeStream
from steve1.rollout.supervise import SupervisedEnv
from steve1.rollout.trace import TraceRecorder
from tests.live.worlds import Encoder, Played, lines, options, playing, session_of, suite
from tests.rollout.fakes import FakeEnv, interrupt_at_frame

pytestmark = pytest.mark.e2e  # threads and videos


class Clock:
    """Time that passes only where somebody sleeps, so that nothing depends on how busy the machine is."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        time.sleep(0.001)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_ends_the_program_keeps_the_recording(tmp_path: Path, number: signal.Signals) -> None:
    """A batch system's or `docker stop`'s signal, and that of a terminal or SSH that is gone."""

    class Ended(FakeEnv):
        def step(self, action: dict[str, Any]) -> Any:
            if session.screen.tick == 50:
                os.kill(os.getpid(), number)
            return super().step(action)

    before = signal.getsignal(number)
    signal.signal(number, signal.SIG_DFL)
    session = session_of(tmp_path, Ended, film=True)
    session.arrived()
    session.post({"do": "record"})
    end_film, while_written = session.recorder.end_film, []

    def ending() -> None:
        while_written.append(signal.getsignal(number))
        end_film()

    session.recorder.end_film = ending  # type: ignore[method-assign]
    try:
        kept = session.run()
        assert while_written == [signal.SIG_IGN], "a second one does not end what is being written"
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)
    assert [each.prefix.name for each in kept] == ["dig_dirt-0000"]
    assert probe(tmp_path / "takes" / "dig_dirt-0000.mp4").frames == len(lines(tmp_path, "dig_dirt-0000")) >= 45
    assert probe(tmp_path / "session" / "film-001.mp4").frames >= 45


@pytest.mark.parametrize("during", ["frame", "trace"])
def test_ctrl_c_waits_until_a_tick_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, during: str) -> None:
    """Else a frame is missing, and those after it stand beside the wrong actions; or the recording cannot be judged, and is lost."""

    def interrupted(trace: TraceRecorder, info: dict[str, Any]) -> None:
        if len(trace._states) == 80:
            os.kill(os.getpid(), signal.SIGINT)
        note(trace, info)

    note = TraceRecorder._note_blocks
    if during == "frame":
        interrupt_at_frame(monkeypatch, 80)
    else:
        monkeypatch.setattr(TraceRecorder, "_note_blocks", interrupted)
    session = session_of(tmp_path)
    session.arrived()
    session.post({"do": "record"})
    assert len(session.run()) == 1
    video = tmp_path / "takes" / "dig_dirt-0000.mp4"
    assert probe(video).frames == len(lines(tmp_path, "dig_dirt-0000")) >= 79
    assert np.diff(frame_times(video)[1]) == pytest.approx(0.05)


@pytest.mark.parametrize("first", ["stop", "ctrl-c"])
def test_ctrl_c_waits_until_the_recording_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """Judging a long one takes seconds, in which somebody becomes impatient."""

    class Stopped(FakeEnv):
        def step(self, action: dict[str, Any]) -> Any:
            if session.screen.tick == 50 and first == "stop":
                session.post({"do": "stop"})
            elif session.screen.tick == 50:
                os.kill(os.getpid(), signal.SIGINT)
            return super().step(action)

    def impatient(take: recorder.Take) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return finish(take)

    finish = recorder.Take.finish
    monkeypatch.setattr(recorder.Take, "finish", impatient)
    before = signal.getsignal(signal.SIGINT)
    session = session_of(tmp_path, Stopped, film=True)
    session.arrived()
    session.post({"do": "record"})
    try:
        kept = session.run()
    except KeyboardInterrupt:  # it would end the tests
        kept = []
    assert signal.getsignal(signal.SIGINT) is before
    assert [each.prefix.name for each in kept] == ["dig_dirt-0000"]
    assert probe(tmp_path / "takes" / "dig_dirt-0000.mp4").frames == len(lines(tmp_path, "dig_dirt-0000")) >= 45
    assert probe(tmp_path / "session" / "film-001.mp4").frames >= 45
    assert session.screen.events[-1]["kind"] == "finished"


def test_a_console_that_nobody_reads_any_more_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`… | tee log` and Ctrl-C, which ends tee too: neither a dead game, nor a lost film."""

    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    session = session_of(tmp_path, film=True)
    session.arrived()
    session.post({"do": "record"})
    with monkeypatch.context() as closed:
        closed.setattr(sys, "stdout", Closed())
        kept = session.run(ticks=60)
    assert len(kept) == 1
    assert session._game.restarts == 0
    assert probe(tmp_path / "session" / "film-001.mp4").frames >= 55


def recorded(played: Played, ticks: int) -> None:
    """Record this many ticks or a few more."""
    played.do("record")
    played.until(lambda: (played.session.recorder.ticks or 0) >= ticks)
    played.do("stop")
    played.until(lambda: played.session.recorder.ticks is None)


def test_a_person_takes_over_and_only_its_part_is_imitated(tmp_path: Path) -> None:
    with playing(tmp_path) as played:
        played.do("record")
        played.until(lambda: (played.session.recorder.ticks or 0) >= 40)
        played.do("take_over")
        played.until(lambda: played.session.screen.who == "person")
        played.session.person.update(["KeyW"], ["KeyW"], 40, 0, 0)
        played.ticks(40)
        played.do("hand_back")
        played.until(lambda: played.session.screen.who == "policy")
        played.ticks(20)
        played.do("stop")
        played.until(lambda: played.session.recorder.ticks is None)
    assert played.agent is not None
    assert played.agent.seen == played.session.screen.tick  # it saw every frame, whoever acted
    ticks, noted = lines(tmp_path, "dig_dirt-0000"), options(tmp_path, "dig_dirt-0000")
    who = [tick["who"] for tick in ticks]
    assert [name for name, _ in itertools.groupby(who)] == ["policy", "person", "policy"]
    assert noted["acted"] == {"policy": who.count("policy"), "person": who.count("person")}
    assert (noted["behaviour"], noted["captions"], noted["success"]) == ("dig_dirt", ["dig dirt"], True)
    walked = ["key.keyboard.w" in tick["keyboard"]["keys"] for tick in ticks if tick["who"] == "person"]
    assert walked.count(True) >= 40
    assert all(walked[walked.index(True) :])
    assert probe(tmp_path / "takes" / "dig_dirt-0000.mp4").frames == len(ticks)
    summary = convert_folder(
        tmp_path / "takes", tmp_path / "out", ConvertSettings(keep_nulls=True, mineclip_frames=False)
    )
    assert summary.count("converted") == 1, summary.text
    episode = Episode(tmp_path / "out" / "dig_dirt-0000")
    assert episode.imitated is not None
    assert episode.imitated.tolist() == [name == "person" for name in who]
    assert episode.metadata["imitated_frames"] == who.count("person")


def test_the_record_lasts_as_long_as_it_was_played_and_turns_as_far_as_the_mouse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves = np.random.default_rng(0).integers(-300, 300, (30, 2))
    clock, times = Clock(), list[float]()
    monkeypatch.setattr(live_session, "time", clock)

    class Timed(FakeEnv):
        def step(self, action: dict[str, Any]) -> Any:
            times.append(clock.now)
            return super().step(action)

    with playing(tmp_path, weights=False, prompt="my skill", rate=20.0, env=Timed) as played:
        screen, marks = played.session.screen, dict[str, float]()
        event = screen.event
        monkeypatch.setattr(screen, "event", lambda kind, text="": (marks.update({kind: clock.now}), event(kind, text)))
        played.do("record")
        played.until(lambda: played.session.recorder.ticks is not None)
        for number, (dx, dy) in enumerate(moves):
            played.session.person.update((), (), float(dx), float(dy), 0)
            played.ticks(number % 3)
        played.ticks(3)
        played.do("stop")
        played.until(lambda: played.session.recorder.ticks is None)
    ticks, noted = lines(tmp_path, "my-skill-0000"), options(tmp_path, "my-skill-0000")
    began, ended = (
        next(event["tick"] for event in played.session.screen.events if event["kind"] == kind)
        for kind in ("record", "kept")
    )
    assert len(ticks) == ended - began
    assert times[ended - 1] - times[began] == pytest.approx((len(ticks) - 1) / 20)
    assert len(ticks) == pytest.approx(20 * (marks["kept"] - marks["record"]), abs=1.001)
    assert [sum(tick["mouse"][name] for tick in ticks) for name in ("dx", "dy")] == moves.sum(0).tolist()
    assert {tick["who"] for tick in ticks} == {"person"}
    assert noted["success"] is None  # the prompt of no task: nobody judges


def test_a_late_tick_is_not_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, times = Clock(), list[float]()
    monkeypatch.setattr(live_session, "time", clock)

    class Slow(FakeEnv):
        def step(self, action: dict[str, Any]) -> Any:
            times.append(clock.now)
            if len(times) == 5:
                clock.sleep(0.3)
            return super().step(action)

    with playing(tmp_path, rate=40.0, env=Slow) as played:
        played.ticks(15)
    assert np.diff(times)[:14] == pytest.approx([0.025] * 4 + [0.3] + [0.025] * 9)  # no two at once
    assert max(played.session.screen._lateness) == pytest.approx(0.275)


def test_redo_goes_back_and_throws_away(tmp_path: Path) -> None:
    with playing(tmp_path) as played:
        played.do("record")
        played.until(lambda: (played.session.recorder.ticks or 0) >= 10)
        played.do("redo")
        played.until(lambda: "discarded" in played.kinds() and (played.session.recorder.ticks or 0) >= 5)
        played.do("discard")
        played.until(lambda: played.session.recorder.ticks is None)
        recorded(played, 5)
        resets = played.session._env.resets  # type: ignore[attr-defined]
    assert resets[0] == resets[1]
    assert sorted(path.name for path in (tmp_path / "takes").iterdir()) == [
        "dig_dirt-0000-options.json", "dig_dirt-0000.jsonl", "dig_dirt-0000.mp4",
    ]  # fmt: skip


def test_prompts_change_between_two_ticks_and_are_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with playing(tmp_path) as played:
        played.do("record")
        played.ticks(10)
        played.do("prompt", text="explore")
        played.until(lambda: played.session.screen.state["prompt"] == "explore")
        played.ticks(10)
        played.do("prompt", text="no such files")
        played.until(lambda: played.session.screen.notices)
        played.do("prompt", text="挖泥土")
        played.until(lambda: played.session.screen.state["prompt"] == "挖泥土")
        assert played.session.screen.state["task"]["name"] == "dig_dirt"
        assert "dig dirt" in played.session.screen.state["note"]
        played.do("prompt", text="某事")
        played.until(lambda: played.session.screen.state["prompt"] == "某事")
        assert "cannot be read" in played.session.screen.state["note"]
        played.do("stop")
        played.until(lambda: played.session.recorder.ticks is None)
    ticks, noted = lines(tmp_path, "dig_dirt-0000"), options(tmp_path, "dig_dirt-0000")
    assert [prompt for _, prompt in noted["prompts"]] == ["dig dirt", "explore", "挖泥土", "某事"]
    changed = noted["prompts"][1][0]
    assert ticks[changed - 1]["mouse"]["buttons"] == [0]
    assert ticks[changed]["keyboard"]["keys"] == ["key.keyboard.w"]
    assert "MineCLIP weights were not found" in capsys.readouterr().out


def test_a_recording_is_of_the_prompt_under_which_it_was_played(tmp_path: Path) -> None:
    """Somebody pauses, begins to record, and then says what is going to be shown."""
    with playing(tmp_path) as played:
        played.do("pause")
        played.do("record")
        played.until(lambda: played.session.recorder.ticks == 0)
        played.do("prompt", text="explore")
        played.until(lambda: played.session.screen.state["prompt"] == "explore")
        played.do("resume")
        played.until(lambda: (played.session.recorder.ticks or 0) >= 5)
    noted = options(tmp_path, "explore-0000")
    assert (noted["behaviour"], noted["captions"], noted["prompts"]) == ("explore", ["explore"], [[0, "explore"]])
    assert len(list((tmp_path / "takes").iterdir())) == 3


def test_a_chain_runs_in_a_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = LiveGoals.ask

    def asked_and_encoded(goals: LiveGoals, prompt: str) -> None:
        """A prompt that is not encoded before the next is asked for would be forgotten."""
        ask(goals, prompt)
        assert goals._asked is not None
        wait([goals._asked])

    monkeypatch.setattr(LiveGoals, "ask", asked_and_encoded)
    with playing(tmp_path, source=read_chain("dig dirt=20;explore=20;build a pillar", suite())) as played:
        played.until(lambda: played.session.screen.state.get("prompt") == "build a pillar")
    asked = [(event["text"]) for event in played.session.screen.events if event["kind"] == "prompt"]
    assert asked == ["dig dirt", "explore", "build a pillar"]


def test_each_world_of_a_chain_begins_where_its_first_prompt_does(tmp_path: Path) -> None:
    chain = read_chain("swim under water=5;dig dirt", suite())
    with playing(tmp_path, source=chain, prompt="swim under water") as played:
        played.until(lambda: played.session.screen.state.get("prompt") == "dig dirt")
        played.do("reset_world")
        played.until(lambda: played.kinds().count("world") == 2)
        resets = played.session._env.resets  # type: ignore[attr-defined]
    assert [options["biome"] for _, options in resets] == ["shore", "shore"]


def test_a_session_of_so_many_ticks_waits_for_no_page_that_leaves(tmp_path: Path) -> None:
    with playing(tmp_path, ticks=30, arrived=False) as played:
        played.session.arrived()
        played.session.left()
        played.until(lambda: "finished" in played.kinds())
    assert played.session.screen.tick == 30


def test_nobody_at_the_controls_means_a_pause_and_nothing_pressed(tmp_path: Path) -> None:
    with playing(tmp_path, weights=False, arrived=False) as played:
        time.sleep(0.1)
        assert played.session.screen.tick == 0
        played.session.arrived()
        played.session.person.update(["KeyW"], ["KeyW"], 0, 0, 0)
        played.ticks(10)
        played.session.left()
        played.until(lambda: played.session.screen.state["paused"])
        stopped = played.session.screen.tick
        time.sleep(0.1)
        assert played.session.screen.tick == stopped
        assert played.session.person.take()["forward"] == 0
        played.do("step")
        played.until(lambda: played.session.screen.view and played.session.screen.view.facts["tick"] == stopped + 1)
        time.sleep(0.05)
        assert played.session.screen.tick == stopped + 1
        assert played.session.screen.view is not None
        assert played.session.screen.view.facts["pressed"] == []


def test_a_game_that_dies_leaves_the_recording_and_starts_anew(tmp_path: Path) -> None:
    deaths: list[int] = []
    with playing(tmp_path, env=lambda: FakeEnv(die_at=(60,), deaths=deaths), arrived=False) as played:
        played.do("record")
        played.session.arrived()
        played.until(lambda: "died" in played.kinds())
        played.until(lambda: played.kinds().count("world") == 2)
        recorded(played, 5)
    assert 20 < len(lines(tmp_path, "dig_dirt-0000")) <= 60
    assert len(lines(tmp_path, "dig_dirt-0001")) >= 5
    assert [kept.prefix.name for kept in played.session.recorder.kept] == ["dig_dirt-0000", "dig_dirt-0001"]
    assert played.fault is None


def test_the_page_is_told_of_a_dead_game_before_the_next_one_starts(tmp_path: Path) -> None:
    told: list[list[str]] = []
    deaths: list[int] = []

    def opened() -> FakeEnv:
        told.append([event["kind"] for event in session.screen.state.get("events", ())])
        return FakeEnv(die_at=(20,), deaths=deaths)

    session = session_of(tmp_path, opened)
    session.run(ticks=30)
    assert [kinds[-1:] for kinds in told] == [[], ["died"]]


def test_a_game_that_dies_without_a_word_starts_anew(tmp_path: Path) -> None:
    """A pipe that ends raises EOFError with no text."""
    died: list[int] = []

    class Silent(FakeEnv):
        def step(self, action: dict[str, Any]) -> Any:
            if not died and self.steps_alive == 20:
                died.append(1)
                raise EOFError
            return super().step(action)

    with playing(tmp_path, env=Silent) as played:
        played.until(lambda: played.kinds().count("world") == 2)
        played.ticks(5)
    assert [event["text"] for event in played.session.screen.events if event["kind"] == "died"] == ["EOFError"]


def test_a_recording_that_cannot_begin_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(recorder, "Take", full)
    with playing(tmp_path) as played:
        played.do("record")
        played.until(lambda: played.session.screen.notices)
        assert "No space left" in played.session.screen.notices[0]["text"]
        played.ticks(5)


def test_a_planner_that_fails_between_two_worlds_is_told_and_the_game_goes_on(tmp_path: Path) -> None:
    class Ending(PromptSource):
        worlds = 0

        def reset(self, obs: Any, info: Any) -> str:
            self.worlds += 1
            if self.worlds == 2:
                raise UserError("The planner has ended.")
            return "explore"

        def step(self, action: Any, obs: Any, info: Any) -> None:
            return None

    class Short(FakeEnv):
        def step(self, action: dict[str, Any]) -> Any:
            obs, reward, died, _, info = super().step(action)
            return obs, reward, died, self.steps_alive % 30 == 0, info

    with playing(tmp_path, source=Ending(), env=Short) as played:
        played.until(lambda: played.kinds().count("world") == 3)
        assert played.session.screen.state["prompt"] == "explore"
    assert played.fault is None
    assert any("The planner has ended" in notice["text"] for notice in played.session.screen.notices)


def test_a_planner_that_raises_is_told_and_the_recording_goes_on(tmp_path: Path) -> None:
    (tmp_path / "plan.py").write_text("def plan(event):\n    return ['dig dirt'][event['tick'] // 20]\n")
    with playing(tmp_path, source=open_planner(f"{tmp_path}/plan.py:plan", "explore"), arrived=False) as played:
        played.do("record")
        played.session.arrived()
        played.until(lambda: (played.session.recorder.ticks or 0) >= 40)
        played.do("stop")
        played.until(lambda: played.session.recorder.ticks is None)
    assert played.fault is None
    assert len(lines(tmp_path, "dig_dirt-0000")) >= 40
    told = [notice["text"] for notice in played.session.screen.notices]
    assert [f"{tmp_path}/plan.py, line 2" in text and "IndexError" in text for text in told] == [True]


def test_what_another_session_has_recorded_meanwhile_stays(tmp_path: Path) -> None:
    with playing(tmp_path) as played:
        played.do("record")
        played.until(lambda: (played.session.recorder.ticks or 0) >= 5)
        for end in ("-options.json", ".jsonl", ".mp4"):
            (tmp_path / "takes" / f"dig_dirt-0000{end}").write_text("theirs")
        played.do("stop")
        played.until(lambda: played.session.recorder.kept)
    assert len(lines(tmp_path, "dig_dirt-0001")) >= 5
    assert {path.read_text() for path in (tmp_path / "takes").glob("dig_dirt-0000*")} == {"theirs"}


def test_two_sessions_do_not_share_a_folder_whose_films_would_replace_one_another(tmp_path: Path) -> None:
    with playing(tmp_path) as played:
        played.ticks(1)
        with pytest.raises(UserError, match="Another run"):
            live_session.Session(played.session.settings, SupervisedEnv(FakeEnv), suite()).run(1)
    with playing(tmp_path) as played:  # one after the other they may
        played.ticks(1)


def test_a_recording_without_a_prompt_has_no_caption(tmp_path: Path) -> None:
    with playing(tmp_path, prompt="") as played:
        played.do("record")
        played.until(lambda: (played.session.recorder.ticks or 0) >= 3)
        played.do("stop")
        played.until(lambda: played.session.recorder.kept)
    assert json.loads((tmp_path / "takes" / "play-0000-options.json").read_text())["captions"] == []


def test_a_recording_of_a_long_chinese_prompt_begins(tmp_path: Path) -> None:
    with playing(tmp_path, prompt="建" * 200) as played:
        played.do("record")
        played.until(lambda: (played.session.recorder.ticks or 0) >= 3)
        played.do("stop")
        played.until(lambda: played.session.recorder.kept)
    assert len(list((tmp_path / "takes").glob("建*.mp4"))) == 1


def test_ctrl_c_leaves_a_finished_recording(tmp_path: Path) -> None:
    class Stopped(FakeEnv):
        def step(self, action: dict[str, Any]) -> Any:
            if self.steps_alive == 50:
                raise KeyboardInterrupt
            return super().step(action)

    with playing(tmp_path, env=Stopped, arrived=False) as played:
        played.do("record")
        played.session.arrived()
        played.until(lambda: "finished" in played.kinds())
    assert 20 < len(lines(tmp_path, "dig_dirt-0000")) <= 51
    assert probe(tmp_path / "takes" / "dig_dirt-0000.mp4").frames > 20


def test_a_disk_that_fills_up_ends_the_recording_before_it_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(tmp_path) as played:
        played.do("record")
        played.until(lambda: (played.session.recorder.ticks or 0) >= 10)
        full = type("Usage", (), {"free": 10})()
        monkeypatch.setattr(recorder.shutil, "disk_usage", lambda path: full)
        played.until(lambda: "kept" in played.kinds())
        assert "disk is nearly full" in played.session.screen.notices[-1]["text"]
        played.ticks(5)  # and it goes on
    assert len(lines(tmp_path, "dig_dirt-0000")) >= 10


def test_a_disk_that_fills_up_ends_the_film_before_it_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = type("Usage", (), {"free": 10})()
    monkeypatch.setattr(recorder.shutil, "disk_usage", lambda path: full)
    session = session_of(tmp_path, film=True)
    session.run(ticks=60)
    assert ["the film was ended" in notice["text"] for notice in session.screen.notices] == [True]
    assert probe(tmp_path / "session" / "film-001.mp4").frames == 20


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_log_that_a_full_disk_cuts_off_leaves_no_game_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_log = Screen.open_log
    monkeypatch.setattr(Screen, "open_log", lambda screen, path: open_log(screen, Path("/dev/full")))
    game = FakeEnv()
    session = session_of(tmp_path, lambda: game)
    session.post({"do": "record"})
    assert len(session.run(ticks=20)) == 1
    assert game.closed


def test_a_disk_that_is_full_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with playing(tmp_path) as played:
        played.do("record")
        played.until(lambda: (played.session.recorder.ticks or 0) >= 5)
        monkeypatch.setattr(recorder.Take, "add", full)
        played.until(lambda: played.session.screen.notices)
        assert "No space left" in played.session.screen.notices[0]["text"]
        played.ticks(5)


def test_sliders_film_and_past(tmp_path: Path) -> None:
    with playing(tmp_path) as played:
        played.do("guidance", value=2.5)
        played.do("temperature", value=0.5)
        played.do("film")
        played.ticks(30)
        played.do("film")
        played.until(lambda: "filmed" in played.kinds())
        assert played.agent is not None
        assert (played.agent.cond_scale, played.agent.temperature) == (2.5, 0.5)
        played.agent.deterministic = True
        played.do("speed", value=1)
        played.until(lambda: played.session.screen.state["temperature"] is None)  # it would change nothing
        past = played.session.screen.past(15)
        assert past is not None
        assert b'"tick":10' in past[:60]
    assert probe(tmp_path / "session" / "film-001.mp4").frames >= 25
    assert len((tmp_path / "session" / "session.jsonl").read_text().splitlines()) >= 4


def test_what_begins_and_ends_while_paused_leaves_nothing(tmp_path: Path) -> None:
    with playing(tmp_path, arrived=False) as played:
        for name in ("film", "film", "record", "stop"):
            played.do(name)
        played.until(lambda: "discarded" in played.kinds())
        assert played.kinds()[-3:] == ["film", "record", "discarded"]
        (told,) = played.session.screen.notices
        assert "has no frame" in told["text"]
    assert "filmed" not in played.kinds()
    assert not list((tmp_path / "session").glob("*.mp4"))
    assert not list((tmp_path / "takes").iterdir())
    assert played.session.recorder.kept == []


def test_a_recording_that_is_lost_ends_on_the_timeline_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(recorder.Take, "finish", full)
    with playing(tmp_path) as played:
        for _ in range(2):
            recorded(played, 5)
        played.do("pause")
        played.until(lambda: played.session.screen.state["paused"])
        assert played.kinds().count("discarded") == 2
        tick = played.session.screen.tick
        for _ in range(2):  # the same twice on one tick: told twice
            played.do("record")
            played.do("stop")
        played.until(lambda: len(played.session.screen.notices) == 4)
        assert played.kinds().count("discarded") == 4
        assert played.session.screen.tick == tick
        told = list(played.session.screen.notices)
        assert [notice["number"] for notice in told] == [1, 2, 3, 4]


def test_why_the_similarity_is_gone_is_said_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEVE1_LANG", "zh")
    with playing(tmp_path) as played:
        goals = played.session._goals
        assert goals is not None
        goals._stream = EpisodeStream.__new__(EpisodeStream)  # MineCLIP is loaded
        goals._measuring = Future()  # it never ends: the frames that wait are too many at last
        goals.compares = True
        played.until(lambda: any("太慢" in notice["text"] for notice in list(played.session.screen.notices)))
        assert not goals.compares
    assert sum("太慢" in notice["text"] for notice in played.session.screen.notices) == 1


def test_a_judgement_is_in_the_users_language_and_its_file_in_english(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STEVE1_LANG", "zh")
    with playing(tmp_path) as played:
        played.do("record")
        played.until(lambda: played.session.screen.tick > 30)
        played.do("stop")
        played.until(lambda: bool(played.session.recorder.kept))
    kept = played.session.recorder.kept[0]
    assert not kept.unit.isascii()
    assert json.loads(Path(f"{kept.prefix}-options.json").read_text())["unit"].isascii()
    said = next(line for line in capsys.readouterr().out.splitlines() if "已录制" in line)
    assert kept.unit in said


def test_frames_that_wait_for_a_prompt_are_no_sign_of_a_slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Translating and encoding one, or loading MineCLIP, may take longer than the frames that may wait."""
    encoding, encoded = threading.Event(), threading.Event()

    class Stream:
        def __init__(self, model: object) -> None:
            self.lengths: list[int] = []

        def reset(self) -> None:
            self.lengths.append(0)

        def push_many(self, frames: list[Any]) -> Any:
            self.lengths.append(len(frames))
            return np.ones((len(frames), 4), np.float32)

    class SlowEncoder(Encoder):
        mineclip = None

        def encode(self, prompts: list[str], *, seed: int = 0) -> dict[str, Any]:
            encoding.set()
            assert encoded.wait(120)
            return super().encode(prompts, seed=seed)

    monkeypatch.setattr("steve1.live.goals.EpisodeStream", Stream)
    goals, frame = LiveGoals(SlowEncoder()), np.zeros((2, 2, 3), np.uint8)  # type: ignore[arg-type]
    for _ in range(4):
        goals.see(frame)
    assert goals._measuring is not None
    goals._measuring.result(120)
    goals.ask("dig dirt")
    assert encoding.wait(120)
    for _ in range(200):
        goals.see(frame)
    assert goals.compares
    assert goals.why_stopped() == ""
    encoded.set()
    assert goals.ready(wait=True) is not None
    goals._measuring.result(120)
    for _ in range(4):
        goals.see(frame)
    goals._measuring.result(120)
    assert goals._stream.lengths == [4, 0, 5, 4]  # type: ignore[union-attr]  # what follows the gap is no continuation
    assert goals.similarity == pytest.approx(0.5)
    goals.close()


def test_the_wheel_knows_the_slots_of_the_game(tmp_path: Path) -> None:
    with playing(tmp_path, weights=False) as played:
        played.do("record")
        played.until(lambda: played.session.recorder.ticks is not None)
        played.session.person.update((), (), 0, 0, -1)
        played.ticks(3)
        played.do("stop")
        played.until(lambda: played.session.recorder.ticks is None)
    assert (
        max(tick["hotbar"] for tick in lines(tmp_path, "dig_dirt-0000")) == 7
    )  # before Luanti's first slot is its eighth


def test_files_in_the_way_are_named_and_left(tmp_path: Path) -> None:
    (tmp_path / "takes").mkdir()
    mine = tmp_path / "takes" / "dig_dirt-0000.jsonl"
    mine.write_text("mine")
    with playing(tmp_path) as played:
        played.do("record")
        played.until(lambda: played.session.screen.notices)
        assert "not a whole recording" in played.session.screen.notices[0]["text"]
    assert mine.read_text() == "mine"
