"""OWAMcap: what `ocap` records becomes ticks of 1/20 s with the picture that was on the screen."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from steve1.data.episodes.episode import Episode
from steve1.data.recordings.convert import ConvertSettings
from steve1.data.recordings.convert_folder import convert_folder
from tests.data.makers import picture

writer = pytest.importorskip("mcap.writer", reason="mcap is not installed (extra owamcap)")
KEEP = ConvertSettings(keep_nulls=True, mineclip_frames=False)
BEGIN = 1_700_000_000_000_000_000
MS = 1_000_000
W, E, SHIFT, THREE = 0x57, 0x45, 0xA0, 0x33


def key(at: float, vk: int, *, down: bool = True) -> tuple[float, str, dict[str, Any]]:
    return at, "KeyboardEvent", {"event_type": "press" if down else "release", "vk": vk}


def mouse(
    at: float, x: int = 0, y: int = 0, flags: int = 0, data: int = 0, us: int = 0
) -> tuple[float, str, dict[str, Any]]:
    return at, "RawMouseEvent", {"last_x": x, "last_y": y, "us_flags": us, "button_flags": flags, "button_data": data}


def record(
    folder: Path,
    events: list[tuple[float, str, dict[str, Any]]],
    frames: int = 60,
    rate: int = 60,
    prefix: str = "desktop/",
    clock: Callable[[float], float] = lambda at: at,
) -> Path:
    """rec.mcap and rec.mkv; event times are in milliseconds from the first picture, and noted as the clock has them."""
    folder.mkdir(parents=True, exist_ok=True)
    with av.open(str(folder / "rec.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(number, 180, 320), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    screens = [
        (
            number * 1000 / rate,
            "ScreenCaptured",
            {
                "utc_ns": 0,
                "source_shape": [320, 180],
                "media_ref": {"uri": "rec.mkv", "pts_ns": round(number * 1e9 / rate)},
            },
        )
        for number in range(frames)
    ]
    path = folder / "rec.mcap"
    with open(path, "wb") as file:
        out = writer.Writer(file)
        out.start(profile="owa", library="test")
        channels: dict[str, int] = {}
        for at, kind, message in sorted([*screens, *events], key=lambda each: each[0]):
            if kind not in channels:
                schema = out.register_schema(name=f"{prefix}{kind}", encoding="jsonschema", data=b"{}")
                channels[kind] = out.register_channel(topic=kind.lower(), message_encoding="json", schema_id=schema)
            time = BEGIN + round(clock(at) * MS)
            out.add_message(channels[kind], log_time=time, publish_time=time, data=json.dumps(message).encode())
        out.finish()
    return path


def converted(path: Path, tmp_path: Path) -> Episode:
    summary = convert_folder(path.parent, tmp_path / "out", KEEP)
    assert summary.count("converted") == 1, summary.text
    return Episode(tmp_path / "out" / "rec")


@pytest.mark.parametrize("prefix", ["desktop/", "owa.env.desktop.msg."])
def test_keys_buttons_and_movements_fall_into_their_ticks(tmp_path: Path, prefix: str) -> None:
    events = [
        key(110, W), key(230, W, down=False), key(120, W),  # pressed again while held: the keyboard repeats
        mouse(105, 10, -4), mouse(145, 2, 1), mouse(151, 100, 0),
        mouse(300, flags=0x1), mouse(420, flags=0x2),  # attack
        mouse(500, flags=0x4),  # use, never released
        key(10, SHIFT), key(20, SHIFT, down=False),
        key(600, THREE), mouse(710, flags=0x400, data=120), mouse(760, flags=0x400, data=0x10000 - 120),
        mouse(800, 500, 500, us=0x1),  # absolute: a tablet, no movement
    ]  # fmt: skip
    episode = converted(record(tmp_path / "in", events, prefix=prefix), tmp_path)
    actions = episode.actions()
    assert len(actions) == 20
    assert [row for row, action in enumerate(actions) if action["forward"]] == [2, 3, 4]
    assert [row for row, action in enumerate(actions) if action["attack"]] == [6, 7, 8]
    assert [row for row, action in enumerate(actions) if action["use"]] == list(range(10, 20))
    assert [row for row, action in enumerate(actions) if action["sneak"]] == [0]
    assert np.allclose(actions[2]["camera"], [-3 * 0.15, 12 * 0.15])
    assert np.allclose(actions[3]["camera"], [0, 15])
    assert np.allclose(actions[16]["camera"], 0)
    slots = {(row, name) for row, action in enumerate(actions) for name, value in action.items() if value == 1 and name.startswith("hotbar")}  # fmt: skip
    assert slots == {(12, "hotbar.3"), (14, "hotbar.2"), (15, "hotbar.3")}
    assert any("menus" in note for note in episode.metadata["notes"])


def test_what_is_released_before_the_first_picture_is_not_pressed(tmp_path: Path) -> None:
    events = [
        key(-300, W), key(-200, W, down=False), mouse(-300, flags=0x1), mouse(-200, flags=0x2),
        key(-100, SHIFT), key(60, SHIFT, down=False), mouse(5, 1, 0),
    ]  # fmt: skip
    actions = converted(record(tmp_path / "in", events), tmp_path).actions()
    assert not any(action["forward"] or action["attack"] for action in actions)
    assert [row for row, action in enumerate(actions) if action["sneak"]] == [0, 1]


def test_each_tick_has_the_picture_that_was_on_the_screen(tmp_path: Path) -> None:
    from steve1.core.frames import agent_frame

    episode = converted(record(tmp_path / "in", [mouse(5, 1, 0)]), tmp_path)
    wanted = [agent_frame(picture(number, 180, 320)).astype(int) for number in range(60)]
    for row, frame in enumerate(episode.frames()):
        errors = [np.abs(frame - other).mean() for other in wanted]
        assert int(np.argmin(errors)) == row * 3


def test_degrees_of_the_mouse_and_captions_come_from_the_options(tmp_path: Path) -> None:
    path = record(tmp_path / "in", [mouse(105, 10, 0)])
    path.with_name("rec-options.json").write_text('{"mouse_degrees": 0.3, "captions": ["dig dirt"]}')
    episode = converted(path, tmp_path)
    assert np.allclose(episode.actions()[2]["camera"], [0, 3.0])
    assert episode.metadata["captions"] == ["dig dirt"]
    path.with_name("rec-options.json").write_text('{"mouse_degrees": "much"}')
    summary = convert_folder(path.parent, tmp_path / "again", KEEP)
    assert "mouse_degrees" in summary.results[0].reason


@pytest.mark.parametrize(("step", "good"), [(0, True), (300, True), (-900, False), (20_000, False)])
def test_a_clock_that_was_set_meanwhile_is_told(tmp_path: Path, step: int, good: bool) -> None:
    """In milliseconds, after half a second of a second."""
    path = record(tmp_path / "in", [mouse(5, 1, 0)], clock=lambda at: at if at < 500 else at + step)
    summary = convert_folder(path.parent, tmp_path / "out", KEEP)
    assert summary.count("converted") == good, summary.text
    assert good or "clock was set" in summary.results[0].reason


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("no mouse", "no raw mouse movements"),
        ("no video", "rec.mkv"),
        ("cut off", "damaged"),
        ("no mcap", "damaged"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(tmp_path: Path, change: str, said: str) -> None:
    path = record(tmp_path / "in", [] if change == "no mouse" else [mouse(5, 1, 0)])
    if change == "no video":
        path.with_suffix(".mkv").unlink()
    if change == "cut off":
        path.write_bytes(path.read_bytes()[:-200])
    if change == "no mcap":
        path.write_bytes(b"x" * 500)
    summary = convert_folder(path.parent, tmp_path / "out", KEEP)
    assert summary.count("converted") == 0
    assert any(said in each.reason for each in summary.results), summary.text
