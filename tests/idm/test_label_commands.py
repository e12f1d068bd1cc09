"""The two commands that label videos: their plans, and what they refuse."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from steve1.commands.data import generate_dataset, label_videos
from steve1.commands.data.label_videos import game_of
from steve1.core.errors import UserError
from steve1.core.paths import ROOT
from steve1.data.episodes.episode import Episode
from steve1.data.recordings.shards import Shard
from steve1.idm.labelling.folder import LabelSummary, Machine
from steve1.idm.labelling.settings import LabelSettings
from tests.data.videos.films import film, turns

MINI = ROOT / "data" / "mini" / "mini_idm"
Labeller = Callable[..., LabelSummary]


def test_a_model_of_another_game_is_named(tmp_path: Path, files: tuple[str, str], label: Labeller) -> None:
    beside = Path(f"{files[1]}.json")
    assert game_of(files[1], "") == "minecraft", "as the published model"
    beside.write_text('{"env": "mcio"}')
    assert game_of(files[1], "minerl") == "minecraft", "one is as good as the other"
    beside.write_text('{"env": "luanti"}')
    assert game_of(files[1], "") == game_of(files[1], "luanti") == "luanti"
    film(tmp_path / "v" / "a.mp4", turns(100))
    places = {"videos_dir": str(tmp_path / "v"), "output_dir": str(tmp_path / "out")}
    model = {"idm_model": files[0], "idm_weights": files[1]}
    with pytest.raises(UserError, match="another game") as fault:
        label_videos.main(label_videos.Args(**places, **model, env="minecraft"))
    assert (fault.value.expected, fault.value.got) == ("minecraft", "luanti")
    assert "3_train_idm.sh --env minecraft" in fault.value.todo
    with pytest.raises(UserError, match="another game"):
        generate_dataset.main(generate_dataset.Args(source="videos", **places, **model, env="minecraft"))
    label(tmp_path / "v", tmp_path / "out")
    assert Episode(tmp_path / "out" / "a_000000").metadata["env"] == "luanti"
    beside.write_text('{"env": 3}')
    with pytest.raises(UserError, match="not a game"):
        game_of(files[1], "")


def test_a_shard_without_a_part_has_nothing_to_do(
    tmp_path: Path, label: Labeller, capsys: pytest.CaptureFixture[str]
) -> None:
    film(tmp_path / "v" / "a.mp4", turns(100))
    assert not label(tmp_path / "v", tmp_path / "out", shard=Shard(1, 2)).idle
    model = {"idm_model": str(MINI.with_suffix(".model")), "idm_weights": str(MINI.with_suffix(".weights"))}
    places = {"videos_dir": str(tmp_path / "v"), "output_dir": str(tmp_path / "out"), "shard": "2/2"}
    assert label_videos.main(label_videos.Args(**places, **model)) == 0
    assert "this one has nothing to label" in capsys.readouterr().out
    generate_dataset.main(generate_dataset.Args(source="videos", **places, **model, device="cpu"))
    assert "this one has nothing to label" in capsys.readouterr().out


@pytest.mark.e2e
def test_the_command_for_the_mini_model_needs_no_download(tmp_path: Path) -> None:
    """That of docs/idm.md, with a folder that does not exist: everything before it is there."""
    line = next(line for line in (ROOT / "docs/idm.md").read_text("utf-8").splitlines() if "mini_idm.model" in line)
    assert line.startswith("IDM_MODEL=data/mini/mini_idm.model IDM_WEIGHTS=data/mini/mini_idm.weights SOURCE=videos")
    line = line.replace("my_videos", str(tmp_path / "none")).replace(
        "SOURCE", f"OUTPUT_DIR={tmp_path / 'out'} SOURCE", 1
    )
    done = subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "The folder of videos does not exist" in done.stderr
    assert done.returncode == 2


def test_mineclip_is_that_of_the_model_s_game(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded: list[Path] = []
    monkeypatch.setattr(generate_dataset, "label", lambda args, output, shard: None)
    monkeypatch.setattr(generate_dataset, "embed", lambda args, output, weights, names: embedded.append(weights))
    args = generate_dataset.Args(
        source="videos",
        videos_dir="films",
        output_dir=str(tmp_path),
        idm_model=str(MINI.with_suffix(".model")),
        idm_weights=str(MINI.with_suffix(".weights")),
    )
    generate_dataset.main(args)
    assert embedded == [ROOT / "data/mini/mini_mineclip.safetensors"]
    (tmp_path / "x.weights").write_bytes(b"of another game, or Minecraft")
    other = dataclasses.replace(args, idm_weights=str(tmp_path / "x.weights"))
    assert generate_dataset.default_mineclip(other) == "data/weights/mineclip/attn.pth"


def test_only_videos_are_labelled_again(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--overwrite labels videos again"):
        generate_dataset.main(generate_dataset.Args(output_dir=str(tmp_path), overwrite=True))


def test_making_a_dataset_hands_its_options_on(
    tmp_path: Path, files: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[LabelSettings] = []

    def label_nothing(
        videos: str, output: Path, settings: LabelSettings, machine: Machine, *, overwrite: bool
    ) -> LabelSummary:
        assert overwrite
        given.append(settings)
        return LabelSummary(output)

    monkeypatch.setattr("steve1.idm.labelling.folder.label_folder", label_nothing)
    monkeypatch.setattr(label_videos, "show", lambda summary: None)
    options = {
        "mask": ("1,2,30,40",),
        "start": 30.0,
        "end": -20.0,
        "fov": 90.0,
        "calibrate": "me.mp4",
        "keep_rejected": True,
    }
    options |= {"env": "minecraft", "idm_model": files[0], "idm_weights": files[1]}
    asked = generate_dataset.Args(source="videos", videos_dir="films", nulls="keep", overwrite=True, **options)  # type: ignore[arg-type]
    generate_dataset.label(asked, tmp_path, Shard())
    assert {name: getattr(given[0], name) for name in options} == options
    assert given[0].keep_nulls
