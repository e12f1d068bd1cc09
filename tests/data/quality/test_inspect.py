"""Looking at datasets: what is damaged on purpose is ranked with its reason, what is sound is left in peace."""

from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from steve1 import actions as act
from steve1.commands.data.inspect_dataset import Args, main
from steve1.core.errors import UserError
from steve1.data.episodes.formats.native import EpisodeWriter
from steve1.data.quality.duplicates import find_duplicates, stretches
from steve1.data.quality.measures import LAGS, Measures, longest_run, measure
from steve1.data.quality.suspects import judge
from steve1.live import dataset_page, host
from tests.data.episodes.test_episode import guide_episode, steve1_episode
from tests.data.makers import embeds, make_dataset

N = 160
Played = tuple[list[np.ndarray], list[dict[str, Any]]]


def world(seed: int) -> np.ndarray:
    """A smooth random landscape, uint8 (1200, 1200, 3)."""
    noise = np.random.default_rng(seed).integers(0, 255, (150, 150, 3), dtype=np.uint8)
    return cv2.resize(noise, (1200, 1200), interpolation=cv2.INTER_CUBIC)


def played(seed: int = 0, n_frames: int = N) -> Played:
    """Frames of a camera that turns over a landscape, and the actions that turned it."""
    rng, land = np.random.default_rng(seed), world(seed)
    x = y = 500.0
    frames, actions = [], []
    for _ in range(n_frames):
        frames.append(land[int(y) : int(y) + 128, int(x) : int(x) + 128])
        action = act.null_action()
        action["forward"] = int(rng.random() < 0.7)
        action["camera"] = (rng.normal(size=2) * 3 * (rng.random() < 0.6)).round(2).tolist()
        actions.append(action)
        # Two pixels a degree, and always back toward the middle of the landscape.
        y, x = (min(max(v + 2 * turn, 10), 1050) for v, turn in zip((y, x), action["camera"]))
    return frames, actions


def write(path: Path, content: Played, *, goals: bool = True, **metadata: Any) -> Path:
    frames, actions = content
    with EpisodeWriter(path, {"source": "test", **metadata}, keep_mineclip_frames=False) as writer:
        for frame, action in zip(frames, actions):
            writer.add(np.ascontiguousarray(frame), action)
        if goals:
            writer.goals = embeds(len(writer), 24, 1)
    return path


def reasons_of(path: Path) -> dict[str, str]:
    """The heaviest reason of each kind."""
    return {reason.kind: reason.text for reason in reversed(judge([measure(path)], [])[0])}


def with_actions(change: Callable[[list[dict[str, Any]]], Any], seed: int = 0) -> Played:
    frames, actions = played(seed)
    change(actions)
    return frames, actions


def test_a_sound_episode_is_not_suspected(tmp_path: Path) -> None:
    episode = measure(write(tmp_path / "ep", played()))
    assert judge([episode], []) == [[]]
    assert LAGS[int(np.nanargmax(episode.follow))] == 0
    assert np.nanmax(episode.follow) > 0.6
    assert episode.frames == N
    assert episode.pressed[act.BUTTONS.index("forward")] == sum(a["forward"] for a in played()[1])
    assert episode.camera.sum() == N
    assert episode.gui_share is None
    assert episode.goals is not None
    assert episode.goals.bad_rows == 0


@pytest.mark.parametrize("shift", [-9, -3, 4, 12])
def test_desynchronised_actions_are_found_with_their_lag(tmp_path: Path, shift: int) -> None:
    frames, actions = played()
    content = (frames[-shift:], actions) if shift < 0 else (frames, actions[shift:])
    text = reasons_of(write(tmp_path / "ep", content, goals=False))["desync"]
    assert f"{abs(shift)} frames {'after' if shift > 0 else 'before'}" in text


def test_frozen_black_stuck_menu_idle_and_nan(tmp_path: Path) -> None:
    frames, actions = played()
    frozen = frames[:20] + [frames[20]] * (N - 20), actions
    found = reasons_of(write(tmp_path / "frozen", frozen))
    assert "stands still" in found["frozen"]
    assert "from frame 20" in found["still"]
    black = [np.zeros_like(f) if 40 <= n < 80 else f for n, f in enumerate(frames)], actions
    assert "25% of its frames are black" in reasons_of(write(tmp_path / "black", black))["black"]
    held = with_actions(lambda rows: [row.update(use=1) for row in rows] and [row.update(drop=1) for row in rows])
    long = (held[0] * 2, held[1] * 2)
    assert "drop is held for 16 s" in reasons_of(write(tmp_path / "stuck", long))["stuck key"]
    assert "menu" in reasons_of(write(tmp_path / "menu", played(), gui_share=0.7))
    idle = with_actions(lambda rows: [row.update(forward=0, camera=[0, 0]) for row in rows[: N * 2 // 3]])
    assert "nothing is done" in reasons_of(write(tmp_path / "idle", idle))["idle"]
    nan = write(tmp_path / "nan", played())
    goals = np.load(nan / "embeds_attn.npy")
    goals[30:33] = np.nan
    np.save(nan / "embeds_attn.npy", goals)
    assert "3 goal embeddings" in reasons_of(nan)["NaN"]
    (nan / "actions.jsonl").write_text("{")
    assert "not JSON" in reasons_of(nan)["broken"]


def test_duplicates_whole_in_part_and_in_pictures_only(tmp_path: Path) -> None:
    frames, actions = played(1)
    write(tmp_path / "a", (frames, actions))
    write(tmp_path / "b_part", (frames[50:], actions[50:]))
    write(tmp_path / "c_relabelled", (frames, played(7)[1]))
    write(tmp_path / "d_repainted", (played(9)[0], actions))
    write(tmp_path / "e_other", played(3))
    episodes = [measure(path) for path in sorted(tmp_path.iterdir())]
    pairs = {(pair.one, pair.other): pair for pair in find_duplicates(episodes)}
    assert {(0, 1), (0, 2), (0, 3)} <= set(pairs)
    assert not any(4 in key for key in pairs)
    assert pairs[0, 1].kind == "same pictures and actions"
    assert pairs[0, 2].kind == "same pictures, other actions"
    assert pairs[0, 3].kind == "same actions, other pictures"


def test_dull_stretches_are_no_sign_of_a_duplicate() -> None:
    assert stretches(np.zeros(500, np.int64)) == {}
    assert stretches(np.arange(10)) == {}
    walk = np.tile(np.arange(5), 40)
    assert stretches(walk) == {}
    assert len(stretches(np.arange(100))) == 77


@pytest.mark.parametrize(
    ("flags", "expected"), [([], (0, 0)), ([0, 0], (0, 0)), ([1, 1, 0, 1], (2, 0)), ([0, 1, 0, 1, 1, 1], (3, 3))]
)
def test_longest_run(flags: list[int], expected: tuple[int, int]) -> None:
    assert longest_run(np.array(flags, bool)) == expected


def test_every_layout_can_be_looked_at(tmp_path: Path) -> None:
    for path in (guide_episode(tmp_path / "a"), steve1_episode(tmp_path / "b")):
        episode = measure(path)
        assert not episode.fault
        assert len(episode.sheet_frames) == 10
        assert cv2.imdecode(np.frombuffer(episode.sheet, np.uint8), 1).shape == (128, 10 * 131 - 3, 3)


def test_command_writes_one_file_with_everything_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "one" / "ep<0>", played(0), captions=["a <b> & c"])
    write(tmp_path / "one" / "ep1", played(1), goals=False)
    shutil.copytree(tmp_path / "one" / "ep1", tmp_path / "two" / "twin")
    write(tmp_path / "two" / "ep2", played(2))
    broken = write(tmp_path / "two" / "ep3", played(4))
    (broken / "actions.jsonl").write_text("[]\n")
    target = tmp_path / "out" / "r.html"
    main(Args((str(tmp_path / "one"), str(tmp_path / "two")), output=str(target), workers=2, sheets=2))
    printed = capsys.readouterr().out
    assert "ep3" in printed
    assert "duplicate" in printed
    text = target.read_text()
    assert "ep<0>" not in text
    assert "ep&lt;0&gt;" in text
    # Nothing is fetched from anywhere, and every picture is there and opens.
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert all(source.startswith(("data:image/", "#")) for source in sources)
    assert "url(" not in text
    anchors = {source[1:] for source in sources if source.startswith("#")}
    assert anchors <= set(re.findall(r'id="([^"]+)"', text))
    pictures = [source for source in sources if source.startswith("data:")]
    assert len(pictures) == 2 * 2 * 2
    for picture in pictures:
        assert cv2.imdecode(np.frombuffer(base64.b64decode(picture.split(",")[1]), np.uint8), 1) is not None
    assert "n/a" in text
    with pytest.raises(UserError, match="--workers"):
        main(Args((str(tmp_path / "one"),), workers=0))


def test_the_page_and_the_console_speak_chinese(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No title, reason or caption is left in English; names of buttons are."""
    monkeypatch.setenv("STEVE1_LANG", "zh")
    frames, actions = played()
    write(tmp_path / "ds" / "good", (frames, actions))
    write(tmp_path / "ds" / "twin", (frames, actions), gui_share=0.7)
    write(tmp_path / "ds" / "frozen", (frames[:20] + [frames[20]] * (N - 20), actions))
    write(tmp_path / "ds" / "idle", with_actions(lambda rows: [row.update(forward=0, camera=[0, 0]) for row in rows]))
    target = tmp_path / "r.html"
    main(Args((str(tmp_path / "ds"),), output=str(target)))
    page, said = target.read_text(), capsys.readouterr().out
    assert '<html lang="zh">' in page
    assert all(word in page for word in ("数据集一览", "画面与动作都相同", "画面没有变化", "菜单", "视角 "))
    texts = re.sub(r"<(style|script)>.*?</\1>", "", page, flags=re.DOTALL)
    left = set(re.findall(r"[A-Za-z]{3,}", re.sub(r"<[^>]*>", " ", texts)))
    names = {part for button in act.BUTTONS for part in re.findall("[A-Za-z]+", button)}
    ours = {
        "good",
        "twin",
        "frozen",
        "idle",
        "test",
        "pitch",
        "yaw",
        "ms",
        "python",
        "tools",
        "inspect",
        "dataset",
        "tmp",
        "py",
    }
    paths = set(re.findall("[A-Za-z]+", str(tmp_path)))
    assert left - names - ours - paths == set()
    assert "数据集" in said
    assert "重复" in said
    assert "duplicate" not in said


def test_an_episode_that_does_not_open_keeps_no_page_from_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_dataset(tmp_path / "ds", [40, 40])
    (tmp_path / "ds" / "ep00" / "frames.jpgs").write_bytes(b"x")
    shown: list[list[str]] = []
    monkeypatch.setattr(
        dataset_page, "DatasetPage", lambda paths, reasons, folder: shown.append([p.name for p in paths])
    )

    class Closed:
        def __init__(self, *_: object, **__: object) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(host, "Host", Closed)
    with pytest.raises(KeyboardInterrupt):
        main(Args((str(tmp_path / "ds"),), output=str(tmp_path / "report.html"), serve=True))
    assert shown == [["ep01"]]
    assert "do not fit their index" in capsys.readouterr().out
    (tmp_path / "ds" / "ep01" / "frames.jpgs").write_bytes(b"x")
    with pytest.raises(UserError, match="No episode here"):
        main(Args((str(tmp_path / "ds"),), output=str(tmp_path / "report.html"), serve=True))


def test_an_unreadable_episode_has_a_fault_and_no_numbers(tmp_path: Path) -> None:
    episode = measure(tmp_path)
    assert "not an episode" in episode.fault
    assert isinstance(episode, Measures)
    assert episode.frames == 0
