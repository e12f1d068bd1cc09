"""Trimming: clips hold exactly their frames, and convert to exactly the actions of the whole recording."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steve1 import actions as act
from steve1.commands.data.trim_recordings import Args, main
from steve1.core.errors import UserError
from steve1.core.files import sha256_file
from steve1.core.frames import agent_frame
from steve1.data.episodes.episode import Episode
from steve1.data.media import video as video_module
from steve1.data.media.video import probe, read_frames
from steve1.data.recordings import contractor
from steve1.data.recordings.convert import ConvertSettings
from steve1.data.recordings.convert_folder import convert_folder
from steve1.data.recordings.layouts import find_recordings
from steve1.data.recordings.resample import read_game_ticks
from steve1.data.recordings.trim import Clip, Moment, match_clips, moment_of, own_ticks, read_times
from tests.data.makers import make_recording, picture, tick
from tests.data.videos.films import encode


def times(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "times.csv"
    path.write_text(text, encoding="utf-8")
    return path


def trim(tmp_path: Path, text: str, **more: Any) -> int:
    return main(Args(str(tmp_path / "in"), str(times(tmp_path, text)), str(tmp_path / "out"), **more))


def test_a_clip_has_exactly_its_frames_ticks_and_actions(tmp_path: Path) -> None:
    rows = [tick(n, hotbar=n // 20 % 9, mouse={"buttons": [0] if n % 7 < 3 else []}) for n in range(100)]
    video = make_recording(tmp_path / "in", "rec", rows)
    (tmp_path / "in" / "rec-options.json").write_text(
        json.dumps({"behaviour": "dig_dirt", "success": True, "steps": 100})
    )
    assert trim(tmp_path, "recording,start,end\nrec,1.5,3.05\nrec, 2, end, rest\nrec.mp4,f0,f20,begin\n", crf=4) == 0
    whole = list(read_frames(video))
    wanted, _ = act.from_contractor(rows)
    for name, start, stop in (("rec_000030_000061", 30, 61), ("rest", 40, 100), ("begin", 0, 20)):
        found, lonely = find_recordings(tmp_path / "out")
        assert not lonely
        clip = next(r for r in found if r.name == name)
        frames = list(read_frames(clip.video))
        assert len(frames) == stop - start
        assert probe(clip.video).fps == 20
        for number in (0, len(frames) // 2, len(frames) - 1):
            # The neighbours differ by far more than the loss of a new encoding.
            errors = [np.abs(frames[number].astype(int) - whole[start + number + at]).mean() for at in (-1, 0, 1) if 0 <= start + number + at < 100]  # fmt: skip
            nearest = int(np.argmin(errors)) - (1 if start + number > 0 else 0)
            assert nearest == 0
        assert clip.read_ticks().actions == wanted[start:stop]
        assert clip.options["behaviour"] == "dig_dirt"
        assert clip.options["steps"] == stop - start
        assert "success" not in clip.options
        assert clip.options["clip"]["start_frame"] == start


def test_a_frame_that_the_decoder_leaves_out_moves_no_later_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The next would be taken for it, and every action of the clip stand beside the picture after its own."""
    make_recording(tmp_path / "in", "rec", 60)
    decoded = video_module.decoded_frames

    def without_one(path: Path, **more: Any) -> Iterator[av.VideoFrame]:
        return (frame for number, frame in enumerate(decoded(path, **more)) if number != 7)

    for place in (video_module, contractor):
        monkeypatch.setattr(place, "decoded_frames", without_one)
    assert trim(tmp_path, "rec, 1, 2\n") == 1
    assert "A frame of this video does not decode" in capsys.readouterr().out
    assert not list((tmp_path / "out").glob("*.mp4"))


@settings(deadline=None, max_examples=150)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.booleans(), st.booleans(), st.sampled_from(["w", "1", "e"]), st.booleans()),
        min_size=2, max_size=14,
    ),
    st.integers(0, 13), st.booleans(),
)  # fmt: skip
def test_cut_ticks_give_the_same_actions(parts: list[Any], start: int, stuck: bool) -> None:
    rows = []
    for number, (slot, down, new, key, known) in enumerate(parts):
        new_buttons = [0] if (new and number) or (stuck and not number) else []
        row = tick(number, mouse={"buttons": [0] if down or new_buttons else [], "newButtons": new_buttons}, keyboard={"keys": [f"key.keyboard.{key}"]}, hotbar=slot)  # fmt: skip
        if not known:
            del row["hotbar"]
        rows.append(row)
    start = min(start, len(rows) - 1)
    before = json.dumps(rows)
    whole, _ = act.from_contractor(rows)
    assert act.from_contractor(list(own_ticks(rows, start, len(rows))))[0] == whole[start:]
    assert json.dumps(rows) == before


@pytest.mark.parametrize(
    ("text", "frame"),
    [
        ("0", 0),
        ("0.05", 1),
        ("0.15", 3),
        ("0.149", 2),
        ("12.5", 250),
        ("1:02.5", 1250),
        ("1:00:02", 72040),
        ("f17", 17),
    ],
)
def test_times(text: str, frame: int) -> None:
    assert moment_of(text).number(20) == frame


@pytest.mark.parametrize("text", ["", "-1", "1,5", "abc", "1:2:3:4", "nan", "f", "f1.5", "1e3"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="not a time"):
        moment_of(text)


def test_lists_with_commas_tabs_spaces_and_comments(tmp_path: Path) -> None:
    clips = read_times(times(tmp_path, "\ufeff# good parts\nrecording start end\n\na 1 2\nb\t3\t4\tname\nc d,5,end\n"))
    assert [(c.recording, c.start, c.stop, c.name) for c in clips] == [
        ("a", Moment(1), Moment(2), ""), ("b", Moment(3), Moment(4), "name"), ("c d", Moment(5), None, "")
    ]  # fmt: skip
    clips = read_times(times(tmp_path, "Video, 1, 2\nrecording, f3, end\n"))
    assert [(c.recording, c.start) for c in clips] == [("Video", Moment(1)), ("recording", Moment(frame=3))]
    clips = read_times(times(tmp_path, "name;t0;t1 (0:00)\na;1;2\n"))
    assert [(c.recording, c.start) for c in clips] == [("a", Moment(1))]
    with pytest.raises(UserError) as caught:
        read_times(times(tmp_path, "a,1,2\na,5,4\nb,1\nc,x,2\nd,1,2,../up\n"))
    assert all(f"line {n}" in str(caught.value) for n in (2, 3, 4, 5))
    with pytest.raises(UserError, match="is empty"):
        read_times(times(tmp_path, "# nothing\n"))
    with pytest.raises(UserError, match="does not exist"):
        read_times(tmp_path / "absent.csv")


def test_versions_stay_known_and_names_are_told_apart(tmp_path: Path) -> None:
    make_recording(tmp_path / "in" / "6.8", "rec", 40)
    make_recording(tmp_path / "in" / "7.0", "rec", 40)
    found, _ = find_recordings(tmp_path / "in")
    with pytest.raises(UserError, match="Several"):
        match_clips([Clip("rec", Moment(), Moment(5), "", "t:1")], found)
    with pytest.raises(UserError, match="no such") as caught:
        match_clips([Clip("6.8_rek", Moment(), Moment(5), "", "t:1")], found)
    assert "6.8_rec" in str(caught.value)
    assert trim(tmp_path, "6.8_rec 0 1\n") == 0
    clip = find_recordings(tmp_path / "out")[0][0]
    assert clip.version == "6.8"


def test_what_does_not_fit_is_refused_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_recording(tmp_path / "in", "short", 40)
    make_recording(tmp_path / "in", "torn", [tick(n) for n in range(60)], frames=30)
    make_recording(tmp_path / "in", "fast", 40, fps=600)
    make_recording(tmp_path / "in", "good", 40)
    assert trim(tmp_path, "short 1 2.5\ntorn 0 1\ntorn 1 2\nfast 0 1\ngood 0 2\n") == 1
    text = capsys.readouterr().out
    assert "at most 40 frames" in text
    assert "at least 40 frames" in text
    assert "frame rate" in text
    names = sorted(p.name for p in (tmp_path / "out").glob("[!.]*"))
    assert names == sorted(f"{n}{end}" for n in ("torn_000000_000020", "good_000000_000040") for end in (".mp4", ".jsonl", "-options.json"))  # fmt: skip


def test_again_it_goes_on(tmp_path: Path) -> None:
    make_recording(tmp_path / "in", "rec", 60)
    assert trim(tmp_path, "rec 0 1\nrec 1 2\n") == 0
    first = (tmp_path / "out" / "rec_000000_000020.mp4").stat().st_mtime_ns
    (tmp_path / "out" / "rec_000020_000040.mp4").unlink()
    assert trim(tmp_path, "rec 0 1\nrec 1 2\n") == 0
    assert len(list((tmp_path / "out").glob("[!.]*"))) == 6
    assert (tmp_path / "out" / "rec_000000_000020.mp4").stat().st_mtime_ns == first


@pytest.mark.parametrize("found", [".mp4", ".jsonl", "-options.json", "another clip"])
def test_files_of_the_users_are_never_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str], found: str) -> None:
    """A video, ticks without their video, and a clip of other times, all of the name that a clip would get."""
    make_recording(tmp_path / "in", "rec", 60)
    assert trim(tmp_path, "rec 0 1 mine\n") == 0
    if found != "another clip":
        for path in (tmp_path / "out").glob("mine*"):
            path.write_text("mine") if path.name == f"mine{found}" and found != "-options.json" else path.unlink()
        if found == "-options.json":
            (tmp_path / "out" / "mine-options.json").write_text("{}")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("[!.]*")}
    assert trim(tmp_path, "rec 0 2 mine\n") == 1
    assert "Another clip has this name" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("[!.]*")} == before


def test_a_clip_of_another_recording_of_the_same_name_and_times(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_recording(tmp_path / "in", "rec", 40, width=64, height=36)
    assert trim(tmp_path, "rec 0 1\n") == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("[!.]*")}
    make_recording(tmp_path / "in", "rec", [tick(n, yaw=90.0) for n in range(40)], width=64, height=36)
    assert trim(tmp_path, "rec 0 1\n") == 1
    assert "Another clip has this name" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("[!.]*")} == before
    options = tmp_path / "out" / "rec_000000_000020-options.json"
    earlier = json.loads(options.read_text())
    del earlier["clip"]["ticks_sha256"]
    options.write_text(json.dumps(earlier))
    assert trim(tmp_path, "rec 0 1\n") == 0, "what an earlier version made is left alone"


def busy(number: int, rate: int = 20) -> dict[str, Any]:
    """A tick with other keys, movements and slots than its neighbours."""
    keys = [f"key.keyboard.{key}" for key, every in (("w", 1), ("space", 7), ("d", 4)) if number % every == 0]
    mouse = {"dx": float(number % 11) - 4, "dy": float(number % 5) - 2, "buttons": [0] if number % 9 < 2 else []}
    return tick(number, mouse=mouse, keyboard={"keys": keys}, hotbar=number // 10 % 9, milli=number * 1000 / rate)


def shows(video: Path, whole: list[np.ndarray], wanted: list[int]) -> bool:
    """Whether a clip's frames are those of the whole, rather than their neighbours."""
    found = list(read_frames(video))
    assert len(found) == len(wanted)
    for frame, number in zip(found, wanted):
        near = range(max(0, number - 5), min(len(whole), number + 6))
        if near[int(np.argmin([np.abs(frame.astype(int) - whole[at]).mean() for at in near]))] != number:
            return False
    return True


@pytest.mark.e2e
@pytest.mark.parametrize(("fps", "header"), [(60, 60), (30, 30), (60, 20)])
def test_a_tick_a_frame_at_another_rate(tmp_path: Path, fps: int, header: int) -> None:
    rows = [busy(n, fps) for n in range(4 * fps)]
    video = make_recording(tmp_path / "in", "rec", rows, fps=header, width=64, height=36)
    source_fps = float(fps) if header != fps else 0.0
    assert trim(tmp_path, f"rec 1.5 3.1 part\nrec f{fps} end rest\n", crf=4, source_fps=source_fps) == 0
    raw, _ = act.from_contractor(rows)
    whole = list(read_frames(video))
    clips = {recording.name: recording for recording in find_recordings(tmp_path / "out")[0]}
    for name, seconds, until in (("part", 1.5, 3.1), ("rest", 1.0, 4.0)):
        clip, start, stop = clips[name], round(seconds * fps), round(until * fps)
        assert probe(clip.video).fps == fps
        assert shows(clip.video, whole, list(range(start, stop)))
        ticks, pairing = read_game_ticks(clip)
        assert pairing.rates.ticks == fps
        assert len(ticks.actions) == round((until - seconds) * 20)
        told = {"recording": "rec.mp4", "start_frame": start, "stop_frame": stop, "fps": fps}
        assert clip.options["clip"] == told | {"ticks_sha256": sha256_file(video.with_suffix(".jsonl"))}
        for number, found in enumerate(ticks.actions):
            first, last = start + int(number * fps / 20), start + int((number + 1) * fps / 20)
            assert found["camera"] == pytest.approx(np.sum([action["camera"] for action in raw[first:last]], axis=0))
            for button in ("forward", "jump", "right", "attack"):
                assert found[button] == max(action[button] for action in raw[first:last])
    # The clip as the user goes on with it: an episode at 20 a second, with the pictures shown at its moments.
    assert convert_folder(tmp_path / "out", tmp_path / "data", ConvertSettings(keep_nulls=True)).count("converted") == 2
    episode = Episode(tmp_path / "data" / "part")
    assert len(episode) == 32
    assert episode.metadata["resampled"]["tick_rate"] == fps
    for number in (0, 7, 31):
        place = round(1.5 * fps) + int(number * fps / 20)
        errors = [
            np.abs(episode.frames(number, number + 1)[0].astype(int) - agent_frame(whole[at])).mean()
            for at in range(place - 5, place + 6)
        ]
        assert int(np.argmin(errors)) == 5


def test_twenty_ticks_a_second_below_a_video_of_thirty(tmp_path: Path) -> None:
    rows = [busy(n) for n in range(80)]
    video = make_recording(tmp_path / "in", "rec", rows, frames=120, fps=30, width=64, height=36)
    assert trim(tmp_path, "rec 1.05 2.5 part\nrec f45 f60 counted\n", crf=4) == 0
    wanted, _ = act.from_contractor(rows)
    whole = list(read_frames(video))
    clips = {recording.name: recording for recording in find_recordings(tmp_path / "out")[0]}
    for name, start, stop in (("part", 21, 50), ("counted", 30, 40)):
        assert clips[name].read_ticks().actions == wanted[start:stop]
        assert probe(clips[name].video).fps == 20
        assert shows(clips[name].video, whole, [int(number * 1.5) for number in range(start, stop)])


def test_a_video_without_an_even_pace_has_no_times(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_recording(tmp_path / "in", "rec", 60, fps=30, width=64, height=36)
    make_recording(tmp_path / "in", "good", 60, fps=30, width=64, height=36)
    uneven(tmp_path / "in" / "rec.mp4")
    assert trim(tmp_path, "rec 0.5 1\ngood f45 1.2\ngood 0 1\n") == 1
    assert trim(tmp_path, "rec 0.5 1\ngood 0 1\n") == 1
    said = capsys.readouterr().out
    assert "off an even pace" in said
    assert "--source_fps 30" in said
    assert "This clip is empty" in said
    assert "30 frames a second" in said
    assert [path.name for path in (tmp_path / "out").glob("*.mp4")] == ["good_000000_000030.mp4"]


def test_times_are_those_that_a_player_shows(tmp_path: Path) -> None:
    """A video that stalls, and one that runs at 20.8 frames a second; each frame has its tick."""
    for name, stamps in (
        ("stall", lambda n: n / 20 + 0.5 * (n >= 30) + 0.5 * (n >= 60)),
        ("fast", lambda n: n / 20.8),
    ):
        (tmp_path / "in").mkdir(exist_ok=True)
        encode(tmp_path / "in" / f"{name}.mp4", iter([picture(n, 36, 64) for n in range(150)]), stamps=stamps)
        ticks = [{key: value for key, value in tick(n).items() if key != "milli"} for n in range(150)]
        (tmp_path / "in" / f"{name}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in ticks))
    assert trim(tmp_path, "stall 5 6\nfast 5 6\nfast 7 end\nstall f100 f120\n", crf=4) == 0
    for name, start, stop in (("stall", 80, 100), ("fast", 104, 124), ("fast", 145, 150), ("stall", 100, 120)):
        clip = tmp_path / "out" / f"{name}_{start:06d}_{stop:06d}.mp4"
        whole = list(read_frames(tmp_path / "in" / f"{name}.mp4"))
        assert shows(clip, whole, list(range(start, stop))), clip.name


def test_frames_of_a_video_without_an_even_pace_are_counted(tmp_path: Path) -> None:
    """Twenty ticks a second below a video of 60 frames a second that stalls for a second: frame 60 is shown at 2 s."""
    stamps = [n / 60 + (n >= 60) for n in range(240)]
    encode(tmp_path / "in" / "rec.mp4", iter([picture(n, 36, 64) for n in range(240)]), stamps=stamps.__getitem__)
    ticks = [busy(n) for n in range(100)]
    (tmp_path / "in" / "rec.jsonl").write_text("".join(json.dumps(each) + "\n" for each in ticks))
    assert trim(tmp_path, "rec f60 f120 part\nrec f0 f3 begin\nrec f180 f240 rest\n", crf=4) == 0
    assert trim(tmp_path, "rec f180 f300 beyond\n", crf=4) == 1
    wanted, _ = act.from_contractor(ticks)
    whole = list(read_frames(tmp_path / "in" / "rec.mp4"))
    clips = {recording.name: recording for recording in find_recordings(tmp_path / "out")[0]}
    for name, start, stop, shown in (
        ("part", 40, 60, range(60, 120, 3)),
        ("begin", 0, 1, range(1)),
        ("rest", 80, 100, range(180, 240, 3)),
    ):
        assert clips[name].read_ticks().actions == wanted[start:stop]
        assert shows(clips[name].video, whole, list(shown)), name


def test_to_the_end_of_a_video_that_is_shorter_than_its_ticks(tmp_path: Path) -> None:
    make_recording(tmp_path / "in", "rec", [tick(n) for n in range(100)], frames=97)
    assert trim(tmp_path, "rec 2 end tail\nrec 0 1 head\n") == 0
    assert {len(list(read_frames(clip))) for clip in (tmp_path / "out").glob("tail.mp4")} == {57}
    assert (tmp_path / "out" / "head.mp4").exists()


def uneven(video: Path) -> None:
    """Let every frame from the middle on come half a second later."""
    with av.open(str(video)) as source, av.open(str(video) + ".mp4", "w") as target:
        template = source.streams.video[0]
        stream = target.add_stream_from_template(template)
        for number, packet in enumerate(source.demux(template)):
            if packet.dts is None or packet.pts is None:
                continue
            late = round(0.5 / float(template.time_base or 1)) if number >= 30 else 0
            packet.dts, packet.pts, packet.stream = packet.dts + late, packet.pts + late, stream
            target.mux(packet)
    Path(str(video) + ".mp4").replace(video)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("rec,0,1,x\nrec,1,2,x\n", "line 2: the clip of line 1 is named x"),
        ("rec;0;1;x\nrec；1；2；x\n", "line 2: the clip of line 1"),
        ('"rec","0","1","x"\nrec，1，2，x\n', "line 2: the clip of line 1"),
    ],
)
def test_two_clips_of_one_name_are_refused(text: str, fault: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=fault):
        read_times(times(tmp_path, text))


def test_two_recordings_that_would_make_one_clip_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for day in ("day1", "day2"):
        make_recording(tmp_path / "in" / day, "rec", [tick(n) for n in range(40)])
    assert trim(tmp_path, f"{tmp_path}/in/day1/rec.mp4,0,1\n{tmp_path}/in/day2/rec.mp4,0,1\n") == 1
    assert "Two clips have this name" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "out").glob("*.mp4")] == ["rec_000000_000020.mp4"]


def test_a_list_of_times_in_another_encoding_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "times.csv"
    path.write_bytes("rec,0,1\nrec,1,2,砍树\n".encode("gbk"))
    with pytest.raises(UserError, match="not UTF-8 text") as fault:
        read_times(path)
    assert "times.csv:2" in str(fault.value)
