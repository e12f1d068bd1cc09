"""Work on many machines: parts that together are everything, and the same functions as Ray tasks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steve1.commands.convert import Args, main
from steve1.core.errors import UserError
from steve1.data import shards
from steve1.data.convert import ConvertSettings
from steve1.data.convert_run import convert_folder
from steve1.data.episode import Episode
from steve1.data.shards import Shard, alone_in, parse_shard, ray_results

from .makers import make_dataset, make_recording


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
    theirs, ours = target / ".b.77.0123abcd.tmp", target / ".a.77.0123abcd.tmp"
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


def test_without_ray_the_flag_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    make_recording(tmp_path / "in", "a", 20, width=64, height=36)
    with pytest.raises(UserError, match="needs Ray") as fault:
        main(Args(str(tmp_path / "in"), str(tmp_path / "out"), ray=True))
    assert "--shard" in str(fault.value)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster of two machines with a core each, on this one."""
    ray = pytest.importorskip("ray", reason="ray is not installed: pip install ray")
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes.add_node(num_cpus=1)
    environment = {"env_vars": {"PYTHONPATH": str(shards.ROOT), "OMP_NUM_THREADS": "1"}}
    ray.init(address=nodes.address, runtime_env=environment, log_to_driver=False)
    yield ray
    ray.shutdown()
    nodes.shutdown()


@pytest.mark.e2e
def test_ray_converts_and_embeds_on_two_workers(cluster: Any, tmp_path: Path) -> None:
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
    numbers = dict(ray_results(_quotient, [(7, 2), (1, 0)]))
    assert numbers[0] == 3
    assert isinstance(numbers[1], ZeroDivisionError)
    _embeds_on_ray(tmp_path)


def _quotient(number: int, by: int) -> int:
    return number // by


def _embeds_on_ray(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from steve1.commands import embed
    from steve1.mineclip.model import MineCLIP
    from steve1.mineclip.weights import save_mineclip
    from tests.mineclip.conftest import SMALL

    torch.manual_seed(0)
    model = MineCLIP(SMALL).eval().requires_grad_(False)
    save_mineclip(model, tmp_path / "small.safetensors")
    dataset = make_dataset(tmp_path / "dataset", [20] * 9 + [40], goals=False)
    common: dict[str, Any] = {"dataset_dir": str(dataset), "weights": str(tmp_path / "small.safetensors"), "device": "cpu"}
    assert embed.main(embed.Args(**common, ray=True)) == 0
    for path in sorted(dataset.glob("ep*")):
        episode = Episode(path)
        wanted = model.embed_episode(episode.mineclip_frames())
        assert np.abs(np.asarray(episode.goals[15:]) - wanted[15:]).max() < 1e-5


@pytest.mark.e2e
def test_the_command_starts_a_cluster_of_its_own(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="ray is not installed: pip install ray")
    for name in "ab":
        make_recording(tmp_path / "in", name, 20, width=64, height=36)
    command = [sys.executable, str(shards.ROOT / "tools" / "convert_recordings.py"), "--input_dir", str(tmp_path / "in")]
    done = subprocess.run(
        [*command, "--output_dir", str(tmp_path / "out"), "--ray"], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    assert "2 converted" in done.stdout
