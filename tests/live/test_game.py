"""The real game: played over the socket, and corrected by a scripted player."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from steve1.commands.data import record as record_command
from steve1.commands.play import live
from steve1.core.paths import ROOT
from steve1.data.episodes.episode import Episode
from steve1.data.recordings.convert import ConvertSettings
from steve1.data.recordings.convert_folder import convert_folder
from steve1.live.inputs import PersonInput

pytestmark = [pytest.mark.game, pytest.mark.e2e]
MINI = str(ROOT / "data/mini/mini.weights")


def test_a_person_at_the_socket_plays_luanti(tmp_path: Path) -> None:
    pytest.importorskip("websockets", reason="websockets is not installed")
    from steve1.live.host import Host
    from steve1.live.session_page import SessionPage
    from tests.live.test_host import opened, picture, say, state

    args = live.Args(
        weights=MINI, prompt="look at the sky", recordings=str(tmp_path / "takes"), folder=str(tmp_path / "session"), similarity=False, device="cpu",
    )  # fmt: skip
    with live.make_session(args) as session, Host(page := SessionPage(session), port=0) as host:
        session.person = PersonInput(lambda: 0.0)  # lets nothing go where the machine is busy
        thread = threading.Thread(target=session.run)
        session.screen.listen(lambda: host.call(page.wake_all))
        thread.start()
        with opened(host) as client:
            state(client, lambda found: found["prompt"])
            say(client, "take_over")
            state(client, lambda found: found["who"] == "person")
            say(client, "record")
            state(client, lambda found: found["recording"])
            moves = np.random.default_rng(0).integers(-40, 40, (30, 2)).tolist()
            for dx, dy in moves:
                say(client, "input", down=["KeyW"], pressed=[], dx=dx, dy=dy, wheel=0)
                after = session.screen.tick
                while picture(client)["tick"] <= after:
                    pass
            say(client, "input", down=[], pressed=[], dx=0, dy=0, wheel=0)
            while (found := picture(client))["pressed"]:
                pass
            while picture(client)["tick"] < found["tick"] + 2:
                pass
            say(client, "stop")
            state(client, lambda found: found["takes"])
            say(client, "finish")
            thread.join(timeout=120)
            assert not thread.is_alive()
    ticks = [json.loads(line) for line in (tmp_path / "takes" / "look_at_sky-0000.jsonl").read_text().splitlines()]
    assert {tick["who"] for tick in ticks} == {"person"}
    assert [sum(tick["mouse"][name] for tick in ticks) for name in ("dx", "dy")] == [sum(way) for way in zip(*moves)]
    places = np.array([[tick["xpos"], tick["zpos"]] for tick in ticks])
    assert np.linalg.norm(places[-1] - places[0]) > 1  # it walked
    turned = (ticks[-1]["yaw"] - ticks[0]["yaw"] - 0.15 * sum(dx for dx, _ in moves) + 180) % 360 - 180
    assert abs(turned) < 1.5  # as far as the mouse, within the game's own rounding


def test_a_recording_has_as_many_ticks_as_it_has_seconds(tmp_path: Path) -> None:
    """20 a second ± 1, by the session's own clock. Ticks that began late are not made up for: their time is taken off."""
    args = live.Args(prompt="my skill", recordings=str(tmp_path / "takes"), folder=str(tmp_path / "session"))
    with live.make_session(args) as session:
        late, marks = session.screen._lateness, dict[str, tuple[float, int]]()

        def marked(name: str, what: Callable[..., None]) -> Callable[..., None]:
            def work(*given: object) -> None:
                if session.recorder.ticks is None or name == "keep":
                    marks[name] = (time.perf_counter(), len(late))
                what(*given)

            return work

        def press(name: str, until: Callable[[], object]) -> None:
            session.post({"do": name})
            while not until():
                assert thread.is_alive()
                time.sleep(0.01)

        recorder = session.recorder
        recorder.record = marked("record", recorder.record)  # type: ignore[method-assign]
        thread = threading.Thread(target=session.run)
        thread.start()
        session.arrived()
        press("record", lambda: (recorder.ticks or 0) >= 100)
        recorder.keep = marked("keep", recorder.keep)  # type: ignore[method-assign]
        press("stop", lambda: recorder.kept)
        (began, first), (ended, last) = marks["record"], marks["keep"]
        press("resume", lambda: len(late) > last + 1)
        session.post({"do": "finish"})
        thread.join(timeout=120)
        assert not thread.is_alive()
    count, seconds, period = recorder.kept[0].ticks, ended - began, 1 / 20
    assert count == last - first == len((tmp_path / "takes" / "my-skill-0000.jsonl").read_text().splitlines())
    times = list(late)[first : last + 1]  # of each tick recorded, and of the next one
    print(f"{count} ticks in {seconds:.3f} s, the latest {1000 * max(times):.1f} ms late")
    lost = sum(each for each in times if each >= period)
    ends = [each if each < period else 0.0 for each in (times[0], times[-1])]
    assert (seconds - lost - ends[1]) * 20 - 1 <= count <= (seconds + ends[0]) * 20 + 1


def test_a_scripted_player_takes_over_from_the_policy(tmp_path: Path) -> None:
    args = record_command.Args(
        str(tmp_path / "raw"), weights=MINI, prompts=("look at the sky",), episodes=1, steps=120, takeover=(20, 30), workers=1, device="cpu",
    )  # fmt: skip
    assert record_command.main(args) == 0
    convert_folder(tmp_path / "raw", tmp_path / "out", ConvertSettings(keep_nulls=True, mineclip_frames=False))
    episode = Episode(tmp_path / "out" / "look_at_sky_000")
    assert episode.imitated is not None
    first = int(episode.imitated.argmax())
    assert 20 <= first <= 31
    ticks = [json.loads(line) for line in (tmp_path / "raw" / "look_at_sky_000.jsonl").read_text().splitlines()]
    acted = [tick["who"] for tick in ticks]
    assert acted[:first] == ["policy"] * first
    assert set(acted[first:]) <= {"player", "disturbance"}, "now and then it looks away"
    assert episode.imitated.tolist() == [who == "player" for who in acted]
    assert episode.imitated[first : first + 30].all()
    assert episode.metadata["options"]["takeover"] == [20, 30]
