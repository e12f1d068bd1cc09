"""Episodes: what is written is read back, in all three layouts; broken ones are refused with the reason."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from steve1 import actions as act
from steve1.core.errors import UserError
from steve1.core.frames import agent_frame
from steve1.data.episodes.episode import Episode, find_episodes, write_goals
from steve1.data.episodes.formats.guide import by_number
from steve1.data.episodes.formats.native import EpisodeWriter
from steve1.data.media.video import VideoWriter
from steve1.data.quality.validate import check_episode
from tests.data.makers import action, embeds, make_episode, picture


def guide_episode(path: Path, n_frames: int = 60) -> Path:
    """The layout of the user's guide."""
    (path / "frames").mkdir(parents=True)
    for number in range(n_frames):
        cv2.imwrite(str(path / "frames" / f"{number:05d}.png"), cv2.cvtColor(picture(number), cv2.COLOR_RGB2BGR))
    (path / "actions.jsonl").write_text("".join(json.dumps(action(n)) + "\n" for n in range(n_frames)))
    rows = [None] * 15 + [row[None] for row in embeds(n_frames)[15:]]
    (path / "embeds_attn.pkl").write_bytes(pickle.dumps(rows))
    return path


def steve1_episode(path: Path, n_frames: int = 60) -> Path:
    """STEVE-1's own layout."""
    path.mkdir(parents=True)
    with VideoWriter(path / "frames.mp4", 128, 128, crf=8) as video:
        for number in range(n_frames):
            video.write(agent_frame(picture(number)))
    rows = [{k: np.array(v) for k, v in action(n).items()} for n in range(n_frames)]
    (path / "actions.pkl").write_bytes(pickle.dumps(rows))
    (path / "embeds_attn.pkl").write_bytes(pickle.dumps([None] * 15 + [row[None] for row in embeds(n_frames)[15:]]))
    (path / "len.txt").write_text(f"{n_frames}\n")
    (path / "metadata.json").write_text("{}")
    return path


@pytest.mark.parametrize("make", [make_episode, guide_episode, steve1_episode])
def test_every_layout_gives_the_same(tmp_path: Path, make: object) -> None:
    episode = Episode(make(tmp_path / "ep", 60))  # type: ignore[operator]
    assert len(episode) == 60
    frames = episode.frames(20, 30)
    expected = np.stack([agent_frame(picture(n)) for n in range(20, 30)])
    assert frames.shape == (10, 128, 128, 3)
    assert episode.frames(5, 5).shape == (0, 128, 128, 3)
    assert np.abs(frames.astype(int) - expected).mean() < 2.5
    assert np.abs(frames.astype(int) - expected[::-1]).mean() > 5
    buttons, camera = episode.tokens(20, 30)
    wanted = act.to_joint([action(n) for n in range(20, 30)])
    assert (buttons == wanted[0]).all()
    assert (camera == wanted[1]).all()
    assert buttons.dtype == camera.dtype == np.int64
    assert episode.goals.shape == (60, 24)
    assert np.isnan(episode.goals[:15]).all()
    assert episode.goals[15:, 0].tolist() == list(range(15, 60))
    first = next(iter(episode.mineclip_frames()))
    assert first.shape == (160, 256, 3)
    assert sum(1 for _ in episode.mineclip_frames()) == 60
    assert episode.actions(3, 4)[0]["camera"] == pytest.approx(action(3)["camera"])
    with pytest.raises(UserError, match="outside"):
        episode.frames(50, 61)


def test_native_pixels_are_within_two_grey_levels(tmp_path: Path) -> None:
    episode = Episode(make_episode(tmp_path / "ep", 40))
    expected = np.stack([agent_frame(picture(n)) for n in range(40)])
    assert np.abs(episode.frames().astype(int) - expected).mean() <= 2.0


def test_goals_are_memory_mapped_and_float16_stays(tmp_path: Path) -> None:
    path = make_episode(tmp_path / "ep", 40, goals=False)
    assert not Episode(path).has_goals
    with pytest.raises(UserError, match="no goal embeddings") as fault:
        _ = Episode(path).goals
    assert "generate_mineclip_embeds" in str(fault.value)
    write_goals(path, embeds(40).astype(np.float16))
    goals = Episode(path).goals
    assert isinstance(goals, np.memmap)
    assert goals.dtype == np.float16


def test_enlarged_frames_warn(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with EpisodeWriter(tmp_path / "ep", keep_mineclip_frames=False) as writer:
        for number in range(20):
            writer.add(picture(number), action(number))
    episode = Episode(tmp_path / "ep")
    assert not episode.keeps_mineclip_frames
    assert episode.metadata["mineclip_frames"] is False
    assert sum(1 for _ in episode.mineclip_frames()) == 20
    assert "enlarged" in caplog.text


def test_a_writer_that_fails_or_finds_something_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), EpisodeWriter(tmp_path / "ep") as writer:
        writer.add(picture(0), action(0))
        raise RuntimeError
    with pytest.raises(UserError, match="at least one frame"), EpisodeWriter(tmp_path / "ep"):
        pass
    assert list(tmp_path.iterdir()) == []
    make_episode(tmp_path / "ep", 20)
    with pytest.raises(UserError, match="exists already"), EpisodeWriter(tmp_path / "ep"):
        pass
    assert len(Episode(tmp_path / "ep")) == 20


@pytest.mark.parametrize("row", [15, 33, 39])
def test_a_row_that_is_not_finite_is_named(tmp_path: Path, row: int) -> None:
    path = make_episode(tmp_path / "ep", 40)
    rows = embeds(40)
    rows[row, 5] = np.nan if row % 2 else np.inf
    with pytest.raises(UserError, match="not finite") as fault:
        write_goals(path, rows)
    assert f"row {row}" in str(fault.value)
    np.save(path / "embeds_attn.npy", rows)
    with pytest.raises(UserError, match="not finite") as fault:
        Episode(path).check_goals()
    assert f"row {row}" in str(fault.value)
    assert str(path) in str(fault.value)


def test_goals_of_another_length_are_refused(tmp_path: Path) -> None:
    path = make_episode(tmp_path / "ep", 40)
    with pytest.raises(UserError, match="do not fit"):
        write_goals(path, embeds(41))
    np.save(path / "embeds_attn.npy", embeds(41))
    with pytest.raises(UserError, match="do not fit") as fault:
        _ = Episode(path).goals
    assert "40" in str(fault.value)
    assert "41" in str(fault.value)


@pytest.mark.parametrize(
    ("at", "new", "fault"), [(0.5, bytes(100), "zeros"), (0.98, bytes(200), "cut off"), (0.0, b"xx", "begin as a JPEG")]
)
def test_a_damaged_frame_is_named_though_the_decoder_makes_a_picture_of_it(
    at: float, new: bytes, fault: str, tmp_path: Path
) -> None:
    path = make_episode(tmp_path / "ep", 6)
    offsets = np.load(path / "frames_index.npy")
    data = bytearray((path / "frames.jpgs").read_bytes())
    begin, end = int(offsets[3]), int(offsets[4])
    place = begin + int(at * (end - begin))
    data[place : min(place + len(new), end)] = new[: min(len(new), end - place)]
    (path / "frames.jpgs").write_bytes(data)
    Episode(path).frames(0, 3)
    with pytest.raises(UserError, match="does not decode") as caught:
        Episode(path).frames(0, 6)
    assert "frame 3" in str(caught.value)
    assert fault in str(caught.value)


def test_broken_native_parts_are_refused(tmp_path: Path) -> None:
    for part, damage, message in [
        ("frames.jpgs", lambda data: data[:-10], "do not fit their index"),
        ("frames_index.npy", lambda data: data[:30], "does not load"),
        ("action_tokens.npy", lambda data: b"\x80\x04" + data, "is a pickle"),
        ("metadata.json", lambda data: b"{", "not valid JSON"),
        ("metadata.json", lambda data: data.replace(b'"format_version": 1', b'"format_version": 99'), "does not read"),
    ]:
        path = make_episode(tmp_path / f"{part}_{message[:5]}".replace(" ", "_"), 20)
        (path / part).write_bytes(damage((path / part).read_bytes()))
        with pytest.raises(UserError) as fault:
            Episode(path).tokens()
        assert message in str(fault.value)
        assert "allow_pickle" not in str(fault.value)  # NumPy's own advice


def test_a_damaged_frame_is_named(tmp_path: Path) -> None:
    path = make_episode(tmp_path / "ep", 30)
    offsets = np.load(path / "frames_index.npy")
    data = bytearray((path / "frames.jpgs").read_bytes())
    data[offsets[17] : offsets[18]] = bytes(offsets[18] - offsets[17])
    (path / "frames.jpgs").write_bytes(bytes(data))
    episode = Episode(path)
    assert episode.frames(0, 17).shape[0] == 17
    with pytest.raises(UserError, match="does not decode") as fault:
        episode.frames(10, 20)
    assert "frame 17" in str(fault.value)


def test_mismatched_parts_of_foreign_layouts_are_refused(tmp_path: Path) -> None:
    path = guide_episode(tmp_path / "ep", 30)
    (path / "actions.jsonl").write_text("".join(json.dumps(action(n)) + "\n" for n in range(29)))
    with pytest.raises(UserError, match="actions do not fit") as fault:
        Episode(path).tokens()
    assert "29" in str(fault.value)
    (path / "actions.jsonl").write_text(json.dumps(action(0)) + "\n" + '{"camera": [1\n')
    with pytest.raises(UserError, match="not JSON") as fault:
        Episode(path).actions()
    assert ":2" in str(fault.value)
    (path / "actions.jsonl").unlink()
    with pytest.raises(UserError, match="no actions"):
        Episode(path).actions()
    with pytest.raises(UserError, match="not an episode"):
        Episode(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        Episode(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "stems",
    [
        [f"{n:05d}" for n in range(12)],
        [f"{n}" for n in range(12)],
        [f"{n}" for n in range(95, 107)],
        [str(n / 20) for n in range(30)],  # 0.0, 0.05, 0.1 … as Python writes seconds
        [f"{n / 20:.3f}" for n in range(30)],
        [f"t={n / 20:g}s" for n in range(190, 215)],
        [f"frame_{n}" for n in range(12)],
        [f"ep2-frame{n}" for n in range(12)],
        [f"take1.{n}" for n in range(12)],
        [f"{take}.{n}" for take in (1, 2) for n in range(12)],
    ],
    ids=lambda stems: stems[-1],
)
def test_pictures_are_in_the_order_of_their_numbers(tmp_path: Path, stems: list[str]) -> None:
    path = guide_episode(tmp_path / "ep", len(stems))
    for number, stem in enumerate(stems):
        (path / "frames" / f"{number:05d}.png").rename(path / "frames" / f".{stem}.moved")
    for stem in stems:
        (path / "frames" / f".{stem}.moved").rename(path / "frames" / f"{stem}.png")
        (path / "frames" / f"._{stem}.png").write_bytes(b"what macOS adds on other disks")
    assert [p.stem for p in by_number(sorted(p for p in (path / "frames").glob("[!.]*.png")))] == stems
    episode = Episode(path)
    assert len(episode) == len(episode.tokens()[0]) == len(stems)
    frames = episode.frames()
    assert all(np.array_equal(frames[n], agent_frame(picture(n))) for n in range(len(stems)))


@pytest.mark.parametrize("longest", ["frames", "actions", "goals", "none"])
def test_a_named_length_is_where_longer_parts_end(tmp_path: Path, longest: str) -> None:
    path = steve1_episode(tmp_path / "ep", 40)
    for part in ("frames.mp4", "actions.pkl", "embeds_attn.pkl"):
        if longest in ("none", {"frames.mp4": "frames", "actions.pkl": "actions"}.get(part, "goals")):
            shutil.copy(steve1_episode(tmp_path / f"longer_{part}", 44) / part, path / part)
    if longest == "none":
        (path / "len.txt").write_text("41\n")
        (path / "actions.pkl").write_bytes(pickle.dumps([action(n) for n in range(40)]))
        with pytest.raises(UserError, match="actions do not fit"):
            Episode(path).actions()
        return
    episode = Episode(path)
    assert len(episode) == len(episode.actions()) == len(episode.tokens()[0]) == len(episode.goals) == 40
    assert sum(1 for _ in episode.source_frames()) == 40
    assert episode.goals[39, 0] == 39
    assert not check_episode(path).findings


@pytest.mark.parametrize("said", ["40\n".encode("utf-16"), b"-5", b"0", b"", b"40 frames"])
def test_a_length_that_is_none_is_named(tmp_path: Path, said: bytes) -> None:
    path = steve1_episode(tmp_path / "ep", 40)
    (path / "len.txt").write_bytes(said)
    with pytest.raises(UserError) as fault:
        Episode(path)
    assert "len.txt" in fault.value.where


def test_an_episode_without_any_action_is_named(tmp_path: Path) -> None:
    path = steve1_episode(tmp_path / "ep", 40)
    (path / "len.txt").unlink()
    (path / "actions.pkl").write_bytes(pickle.dumps([]))
    with pytest.raises(UserError, match="no actions"):
        Episode(path)


def test_actions_with_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = guide_episode(tmp_path / "ep", 30)
    (path / "actions.jsonl").write_bytes(b"\xef\xbb\xbf" + (path / "actions.jsonl").read_bytes())
    assert Episode(path).actions() == [action(n) for n in range(30)]


def test_a_hostile_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    path = steve1_episode(tmp_path / "ep", 30)
    proof = tmp_path / "proof"

    class Hostile:
        def __reduce__(self) -> object:
            return (Path.touch, (proof,))

    (path / "actions.pkl").write_bytes(pickle.dumps([Hostile()]))
    (path / "embeds_attn.pkl").write_bytes(pickle.dumps([Hostile()]))
    with pytest.raises(UserError, match="refused"):
        Episode(path).tokens()
    with pytest.raises(UserError, match="refused"):
        _ = Episode(path).goals
    assert not proof.exists()


def test_any_path_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a.b c" / "v1.0"
    make_episode(folder / "ep.1", 20)
    monkeypatch.chdir(tmp_path)
    assert len(Episode("./a.b c/v1.0/ep.1")) == 20
    assert [p.name for p in find_episodes("./a.b c/v1.0")] == ["ep.1"]
