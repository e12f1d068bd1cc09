"""Work on many machines: parts that together are everything, and the same functions as Ray tasks."""

from __future__ import annotations

import json
import operator
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steve1.commands.data import embed, generate_dataset
from steve1.commands.data.convert import Args, main
from steve1.core.errors import UserError
from steve1.core.files import read_json, write_json
from steve1.core.paths import ROOT
from steve1.data.episodes.episode import Episode, find_episodes
from steve1.data.episodes.export import export_episode
from steve1.data.exchange.export import export_store
from steve1.data.recordings.convert import ConvertSettings
from steve1.data.recordings.convert_folder import convert_folder
from steve1.data.recordings.shards import Shard, alone_in, parse_shard, ray_results
from tests.clusters import ray_or_skip
from tests.data.makers import make_dataset, make_recording


def test_parts_are_disjoint_even_and_everything() -> None:
    work = list(range(23))
    parts = [Shard(number, 4).of(work) for number in range(1, 5)]
    assert sorted(piece for part in parts for piece in part) == work
    assert {len(part) for part in parts} == {5, 6}
    assert parse_shard("") == Shard()
    assert parse_shard("2/4") == Shard(2, 4)
    assert (Shard().suffix, Shard(2, 4).suffix) == ("", "-2of4")


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/3", "1/3/3"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="not a shard"):
        parse_shard(text)


def test_shards_convert_side_by_side_into_one_folder(tmp_path: Path) -> None:
    for name in "abcde":
        make_recording(tmp_path / "in", name, 20, width=64, height=36)
    (tmp_path / "in" / "c.mp4").write_bytes(b"")
    target = tmp_path / "out"
    target.mkdir()
    # What another shard is writing, and what an earlier run of this one left.
    theirs, ours = target / ".b.999999999.0123abcd.tmp", target / ".a.999999999.0123abcd.tmp"
    theirs.mkdir()
    ours.mkdir()
    with alone_in(target, Shard(2, 2)):
        first = convert_folder(tmp_path / "in", target, ConvertSettings(), shard=Shard(1, 2))
        with pytest.raises(UserError, match="Another"):
            convert_folder(tmp_path / "in", target, ConvertSettings())
    assert theirs.exists()
    assert not ours.exists()
    theirs.rmdir()
    second = convert_folder(tmp_path / "in", target, ConvertSettings(), shard=Shard(2, 2))
    assert [Path(r.recording).stem for r in first.results] == ["a", "c", "e"]
    assert [Path(r.recording).stem for r in second.results] == ["b", "d"]
    assert {path.name for path in target.iterdir() if not path.name.startswith(".")} == {
        "a", "b", "d", "e", "convert_report-1of2.jsonl", "convert_report-2of2.jsonl",
    }  # fmt: skip


def _small_mineclip(folder: Path) -> Any:
    """The model, whose weights are folder/small.safetensors."""
    torch = pytest.importorskip("torch")
    from steve1.mineclip.model import MineCLIP
    from steve1.mineclip.weights import save_mineclip
    from tests.mineclip.conftest import SMALL

    torch.manual_seed(0)
    model = MineCLIP(SMALL).eval().requires_grad_(False)
    save_mineclip(model, folder / "small.safetensors")
    return model


def _dataset_args(tmp_path: Path, **more: Any) -> generate_dataset.Args:
    given = {"source": "folder", "recordings_dir": str(tmp_path / "in"), "output_dir": str(tmp_path / "dataset_x"),
             "mineclip": str(tmp_path / "small.safetensors"), "device": "cpu", "workers": 1}  # fmt: skip
    return generate_dataset.Args(**{**given, **more})


def test_a_dataset_is_made_in_parts_each_with_its_own_goals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "abcde":
        make_recording(tmp_path / "in", name, 20, width=64, height=36)
    model = _small_mineclip(tmp_path)
    # The last part comes first: what is its own must not depend on what the others have made so far.
    for shard, names in (("2/2", "bd"), ("1/2", "abcde")):
        generate_dataset.main(_dataset_args(tmp_path, shard=shard))
        there = find_episodes(tmp_path / "dataset_x")
        assert "".join(path.name for path in there) == names
        assert all(Episode(path).has_goals for path in there)
        said = capsys.readouterr().out
        assert "once all 2 parts are done: bash 2_create_sampling.sh x --dataset_dir " in said
        assert "next:" not in said
    wanted = model.embed_episode(Episode(tmp_path / "dataset_x" / "c").mineclip_frames())
    assert np.abs(np.asarray(Episode(tmp_path / "dataset_x" / "c").goals[15:]) - wanted[15:]).max() < 1e-5
    with pytest.raises(UserError, match="recorded on one machine"):
        generate_dataset.main(_dataset_args(tmp_path, source="luanti", shard="1/2"))


@pytest.mark.parametrize(
    ("games", "wanted"),
    [
        (["luanti", "luanti"], "data/mini/mini_mineclip.safetensors"),
        (["luanti", "mcio"], "data/weights/mineclip/attn.pth"),
        (["luanti", None], "data/weights/mineclip/attn.pth"),
        ([None], "data/weights/mineclip/attn.pth"),
    ],
)
def test_recordings_of_luanti_are_embedded_by_the_mini_mineclip(
    tmp_path: Path, games: list[str | None], wanted: str
) -> None:
    """Sessions end with SOURCE=folder for what was recorded."""
    for number, game in enumerate(games):
        make_recording(tmp_path / "in", f"r{number}", 20, width=64, height=36)
        if game:
            (tmp_path / "in" / f"r{number}-options.json").write_text(json.dumps({"env": game}))
    assert generate_dataset.default_mineclip(_dataset_args(tmp_path), tmp_path / "in") == wanted


def test_options_that_cannot_be_read_stop_no_other_recording(tmp_path: Path) -> None:
    make_recording(tmp_path / "in", "good", 20, width=64, height=36)
    (tmp_path / "in" / "ocap.mcap").write_bytes(b"x")
    (tmp_path / "in" / "ocap-options.json").write_text("{torn")
    found = generate_dataset.default_mineclip(_dataset_args(tmp_path), tmp_path / "in")
    assert found == "data/weights/mineclip/attn.pth"


@pytest.mark.parametrize("kind", ["guide", "steve1", "lerobot-v3"])
def test_exported_episodes_of_luanti_are_embedded_by_the_mini_mineclip(tmp_path: Path, kind: str) -> None:
    """Their metadata names the game; embedded by the published MineCLIP, their goals fit no mini weights."""
    if kind == "lerobot-v3":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra lerobot)")
    (source,) = find_episodes(make_dataset(tmp_path / "ds", [20], goals=False))
    known = read_json(source / "metadata.json")
    for game, wanted in (("luanti", "data/mini/mini_mineclip.safetensors"), ("mcio", "data/weights/mineclip/attn.pth")):
        write_json(source / "metadata.json", known | {"options": {"env": game}})
        folder, asked = tmp_path / game, "folder"
        if kind == "lerobot-v3":
            export_store([source], folder, kind)
            asked = "lerobot"
        else:
            export_episode(source, folder / "ep", kind)
        assert generate_dataset.default_mineclip(_dataset_args(tmp_path, source=asked), folder) == wanted


def _published(folder: Path) -> Path:
    """An index of five recordings, of which "c" is not there."""
    for name in "abde":
        make_recording(folder, name, 20, width=64, height=36)
    (folder / "index.json").write_text(json.dumps({"basedir": ".", "relpaths": [f"{name}.mp4" for name in "abcde"]}))
    return folder / "index.json"


def test_downloads_are_shared_out_too(tmp_path: Path) -> None:
    index = _published(tmp_path / "web")
    given = {
        "source": "contractor",
        "index": str(index),
        "n_episodes": 3,
        "embed": False,
        "recordings_dir": str(tmp_path / "rec"),
    }
    generate_dataset.main(_dataset_args(tmp_path, shard="1/2", **given))  # two of a, c, e
    assert [path.name for path in find_episodes(tmp_path / "dataset_x")] == ["a", "e"]
    generate_dataset.main(_dataset_args(tmp_path, shard="2/2", **given))  # one of b, d
    assert [path.name for path in find_episodes(tmp_path / "dataset_x")] == ["a", "b", "e"]
    report = (tmp_path / "dataset_x" / "convert_report-1of2.jsonl").read_text()
    assert sorted(json.loads(line)["status"] for line in report.splitlines()) == ["converted", "converted", "missing"]
    with pytest.raises(UserError, match="more parts than episodes"):
        generate_dataset.main(_dataset_args(tmp_path, shard="4/4", **given))


def test_the_script_hands_on_shard_and_ray(tmp_path: Path) -> None:
    make_recording(tmp_path / "in", "a", 20, width=64, height=36)
    variables = {
        "SOURCE": "folder",
        "RECORDINGS_DIR": str(tmp_path / "in"),
        "OUTPUT_DIR": str(tmp_path / "out"),
        "SHARD": "1/1x",
    }
    command = ["bash", str(ROOT / "1_generate_dataset.sh"), "--no_embed"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables})
    assert done.returncode == 2
    assert "not a shard" in done.stderr
    variables |= {"SHARD": "", "RAY": "1", "SOURCE": "luanti"}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables})
    assert done.returncode == 2
    assert "--ray" in done.stderr


def test_without_ray_the_flag_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    make_recording(tmp_path / "in", "a", 20, width=64, height=36)
    with pytest.raises(UserError, match="needs Ray") as fault:
        main(Args(str(tmp_path / "in"), str(tmp_path / "out"), ray=True))
    assert "--shard" in str(fault.value)


@pytest.mark.e2e
def test_ray_converts_on_two_workers(cluster: Any, tmp_path: Path) -> None:
    assert len(cluster.nodes()) == 2
    for name in "abcd":
        make_recording(tmp_path / "in", name, 20, width=64, height=36)
    (tmp_path / "in" / "c.mp4").write_bytes(b"broken")
    here = convert_folder(tmp_path / "in", tmp_path / "here", ConvertSettings())
    there = convert_folder(tmp_path / "in", tmp_path / "there", ConvertSettings(), ray=True)
    assert [(r.recording, r.status, r.reason) for r in here.results] == [(r.recording, r.status, r.reason) for r in there.results]  # fmt: skip
    for name in "abd":
        for file in ("frames.jpgs", "action_tokens.npy"):
            assert (tmp_path / "here" / name / file).read_bytes() == (tmp_path / "there" / name / file).read_bytes()
    numbers = dict(ray_results(operator.floordiv, [(7, 2), (1, 0)]))
    assert numbers[0] == 3
    assert isinstance(numbers[1], ZeroDivisionError)


@pytest.mark.e2e
def test_ray_downloads_converts_and_embeds_a_dataset(cluster: Any, tmp_path: Path) -> None:
    model = _small_mineclip(tmp_path)
    index = _published(tmp_path / "web")
    given = {"source": "contractor", "index": str(index), "n_episodes": 0, "recordings_dir": str(tmp_path / "rec")}
    generate_dataset.main(_dataset_args(tmp_path, ray=True, **given))
    report = (tmp_path / "dataset_x" / "convert_report.jsonl").read_text()
    assert {(row["recording"], row["status"]) for row in map(json.loads, report.splitlines())} == {
        ("a.mp4", "converted"), ("b.mp4", "converted"), ("c.mp4", "missing"), ("d.mp4", "converted"), ("e.mp4", "converted"),
    }  # fmt: skip
    assert not list((tmp_path / "rec").glob("*.mp4"))
    # More episodes than one task embeds.
    dataset = make_dataset(tmp_path / "dataset_x", [20] * 9 + [40], goals=False)
    common: dict[str, Any] = {
        "dataset_dir": str(dataset),
        "weights": str(tmp_path / "small.safetensors"),
        "device": "cpu",
    }
    assert embed.main(embed.Args(**common, ray=True)) == 0
    assert len(find_episodes(dataset)) == 14
    for path in find_episodes(dataset):
        episode = Episode(path)
        wanted = model.embed_episode(episode.mineclip_frames())
        assert np.abs(np.asarray(episode.goals[15:]) - wanted[15:]).max() < 1e-5


@pytest.mark.e2e
def test_the_command_starts_a_cluster_of_its_own(tmp_path: Path) -> None:
    ray_or_skip()
    for name in "ab":
        make_recording(tmp_path / "in", name, 20, width=64, height=36)
    command = [
        sys.executable,
        str(ROOT / "tools" / "convert_recordings.py"),
        "--input_dir",
        str(tmp_path / "in"),
    ]
    done = subprocess.run(
        [*command, "--output_dir", str(tmp_path / "out"), "--ray"], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    assert "2 converted" in done.stdout
