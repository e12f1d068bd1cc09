"""Replay: packs hold what the episodes hold, have their share of the windows, and belong to one CNN; KL on old frames alone."""

from __future__ import annotations

import dataclasses
import json
import shlex
import shutil
import subprocess
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from steve1.commands.train import make_replay
from steve1.core.errors import UserError
from steve1.core.files import read_json, write_json
from steve1.data.episodes.episode import Episode, find_episodes
from steve1.data.episodes.formats.replay import open_pack
from steve1.data.episodes.parts import ACTION_MASK
from steve1.data.loading.lists import ListEntry, read_list
from steve1.data.loading.replay import replay_entries, with_replay
from steve1.data.loading.sampling import SamplingSettings, Source, create_sampling
from steve1.data.loading.windows import WindowDataset
from steve1.policy import load_policy
from steve1.training.batches import open_windows
from steve1.training.cache import FeatureCache
from steve1.training.checkpoint.run_folder import describe_run
from steve1.training.checks import check
from steve1.training.config import TrainSettings
from steve1.training.distributed import Ranks
from steve1.training.objectives import BehaviorCloning, KLToStart
from steve1.training.optim.lr_find import find_learning_rate
from steve1.training.train import finetune
from steve1.training.trainable import frozen_copy
from tests.training.conftest import same, weights_of, write_episode, write_lists

Make = Callable[..., TrainSettings]
FROZEN: dict[str, Any] = {"finetune_mode": "frozen_cnn", "feature_cache": True}


@pytest.fixture(scope="module")
def old(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with twelve old episodes in dataset_old, the sampling `old` of them, and a pack."""
    root = tmp_path_factory.mktemp("old")
    episodes = [write_episode(root / "dataset_old" / f"ep{number}", 40 + number) for number in range(12)]
    write_lists(root, episodes[:10], episodes[10:], "old")
    make_replay.main(
        make_replay.Args(str(root / "old.replay.safetensors"), [root / "dataset_old"], **_model(tiny, root))
    )
    return root


def _model(tiny: Path, root: Path) -> dict[str, Any]:
    return {
        "in_model": str(tiny / "tiny.model"), "in_weights": str(tiny / "tiny.weights"), "cache_dir": str(root / "cache"), "precision": "fp32",
        "device": "cpu",
    }  # fmt: skip


def test_a_pack_holds_what_its_episodes_hold(old: Path, tiny: Path) -> None:
    pack = old / "old.replay.safetensors"
    paths = find_episodes(pack)
    assert [path.name for path in paths] == sorted(f"ep{number}" for number in range(12))
    policy = load_policy(tiny / "tiny.model", tiny / "tiny.weights")
    for path in (paths[0], paths[-1]):
        source, packed = Episode(old / "dataset_old" / path.name), Episode(path)
        assert len(packed) == len(source)
        assert packed.has_goals
        packed.check_goals()
        np.testing.assert_array_equal(packed.goals, source.goals)
        for ours, theirs in zip(packed.tokens(), source.tokens()):
            np.testing.assert_array_equal(ours, theirs)
        assert packed.actions(3, 4)[0]["attack"] == source.actions(3, 4)[0]["attack"]  # cameras are their bins' middles
        with torch.no_grad():
            dense = policy.net.img_process.dense(torch.from_numpy(source.frames()))
        np.testing.assert_allclose(packed.format.features, dense, rtol=1e-3, atol=1e-3)  # type: ignore[attr-defined]
        with pytest.raises(UserError, match="no pictures"):
            packed.frames(0, 1)
    # Features 256, goals E = 8 in float32, two actions.
    assert pack.stat().st_size < 12 * 64 * (512 + 32 + 3) + 4096


def test_the_next_line_of_a_pack_can_be_pasted(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("STEVE1_GOES_ON", raising=False)
    folder, pack = tmp_path / "dataset_x", tmp_path / "x.replay.safetensors"
    write_episode(folder / "one", 1)
    make_replay.main(make_replay.Args(str(pack), [folder], **_model(tiny, tmp_path)))
    line = capsys.readouterr().out.splitlines()[-1].removeprefix("next: ")
    subprocess.run(["bash", "-n", "-c", line], check=True)
    words = shlex.split(line)
    assert {"FINETUNE_MODE=frozen_cnn", f"REPLAY={pack}", f"IN_MODEL={tiny / 'tiny.model'}", f"IN_WEIGHTS={tiny / 'tiny.weights'}"} < set(words)  # fmt: skip
    assert words[-3:] == ["bash", "3_train_finetune_template.sh", "--feature_cache"]


def test_a_pack_knows_which_frames_are_imitated(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dataset_masked"
    one, other = write_episode(folder / "one", 1), write_episode(folder / "other", 2)
    mask = np.arange(len(Episode(one))) >= 20
    np.save(one / ACTION_MASK, mask)
    pack = tmp_path / "masked.replay.safetensors"
    make_replay.main(make_replay.Args(str(pack), [folder], **_model(tiny, tmp_path)))
    np.testing.assert_array_equal(Episode(pack / folder.name / "one").imitated, mask)
    assert Episode(pack / folder.name / other.name).imitated is None
    assert WindowDataset([ListEntry(path) for path in find_episodes(pack)], 32).masked


def test_safetensors_reads_a_pack_too(old: Path) -> None:
    from safetensors import safe_open

    pack = open_pack(old / "old.replay.safetensors")
    with safe_open(pack.path, "np") as file:
        np.testing.assert_array_equal(file.get_tensor("features"), pack.features)
        np.testing.assert_array_equal(file.get_tensor("camera"), pack.camera)
        assert file.metadata()["cnn_sha256"] == pack.cnn_hash


def test_old_episodes_have_their_share(settings: Make, old: Path) -> None:
    lists = {"train_list": settings().train_path, "val_list": settings().val_path}
    for replay in (str(old / "old.replay.safetensors"), "old"):
        chosen = settings(replay=replay, replay_share=0.25, sampling_dir=str(old), **lists, **FROZEN)
        train, _, retention = open_windows(chosen)
        assert retention is not None
        seen = {str(path) for path in train.paths} & {str(path) for path in retention.paths}
        assert not seen
        counts = np.zeros(2)
        for epoch in range(40):
            for index in train.epoch_order(epoch):
                counts[int(train.replayed[index])] += 1
        assert counts[1] / counts.sum() == pytest.approx(0.25, abs=0.01)


def test_old_episodes_do_not_validate_the_task(settings: Make, old: Path) -> None:
    """A training list that was written by hand has no validation of the task, whatever replay leaves out of training."""
    chosen = settings(replay=str(old / "old.replay.safetensors"), train_list=str(settings().train_path), **FROZEN)
    assert chosen.val_path is None
    _, val, retention = open_windows(chosen)
    assert val is None
    assert retention is not None
    assert all(".replay." in str(path) for path in retention.paths)


def test_the_best_of_task_and_retention_needs_old_episodes_to_validate_on(settings: Make, old: Path) -> None:
    (old / "alone_train.txt").write_text(str(old / "dataset_old" / "ep0") + "\n")
    lists = {"train_list": str(settings().train_path), "val_list": str(settings().val_path), "sampling_dir": str(old)}
    assert open_windows(settings(replay="alone", **lists))[2] is None
    with pytest.raises(UserError, match="which best_by"):
        open_windows(settings(replay="alone", best_by="task+retention", **lists))
    assert open_windows(settings(replay="old", best_by="task+retention", **lists))[2] is not None


def test_shares_of_the_new_list_keep_their_proportions() -> None:
    new = [ListEntry(Path("a"), 3.0, section=1), ListEntry(Path("b"), 1.0, section=2)]
    mixed = with_replay(new, [ListEntry(Path("o"), replay=True), ListEntry(Path("p"), replay=True)], 0.2)
    weights = {entry.section: entry.weight for entry in mixed}
    assert len(weights) == 3
    assert list(weights.values()) == pytest.approx([0.6, 0.2, 0.2])
    assert with_replay(new, [], 0.2) == new


def test_a_pack_in_a_sampling(old: Path, tiny: Path, tmp_path: Path) -> None:
    sources = [Source(tiny / "dataset_a", 0.7), Source(old / "old.replay.safetensors", 0.3)]
    create_sampling("mix", sources, SamplingSettings(), tmp_path)
    entries = read_list(tmp_path / "mix_train.txt")
    assert any(".replay.safetensors" in str(entry.path) for entry in entries)
    assert all(len(Episode(entry.path)) == 64 for entry in entries)


def test_a_run_records_the_content_of_packs_and_episodes(settings: Make, old: Path, tiny: Path, tmp_path: Path) -> None:
    pack = tmp_path / "own.replay.safetensors"
    shutil.copy(old / "old.replay.safetensors", pack)
    create_sampling("mix", [Source(tiny / "dataset_a", 0.7), Source(pack, 0.3)], SamplingSettings(), tmp_path)
    chosen = settings(sampling_dir=str(tmp_path), sampling_name="mix", **FROZEN)
    ranks = Ranks(0, 1, torch.device("cpu"))
    record = describe_run(chosen, ranks, torch.float32)
    assert not [name for name in record["episodes"] if ".replay." in name]
    assert record["episodes"]
    with pack.open("ab") as file:
        file.write(b"x")
    after = describe_run(chosen, ranks, torch.float32)["sha256"]
    assert {name for name, content in after.items() if content != record["sha256"][name]} == {str(pack)}


@pytest.mark.e2e
def test_the_rate_trial_reads_a_pack_too(settings: Make, old: Path) -> None:
    pack = str(old / "old.replay.safetensors")
    chosen = settings(
        replay=pack, replay_share=0.9, lr_find=True, lr_find_steps=10, cache_dir=str(old / "cache"), **FROZEN
    )
    assert len(find_learning_rate(dataclasses.replace(chosen, keep="replay")).losses) >= 5
    with pytest.raises(UserError, match="Too few of the steps had frames to imitate"):  # old ones are not
        find_learning_rate(chosen)


@pytest.fixture(scope="module")
def without() -> dict[str, Any]:
    """The weights of a run without old episodes; filled by the first test that needs them."""
    return {}


@pytest.mark.e2e
@pytest.mark.parametrize("keep", ["replay", "kl", "both"])
def test_a_run_with_a_pack_goes_on_bit_for_bit(
    settings: Make, old: Path, tmp_path: Path, without: dict[str, Any], keep: str
) -> None:
    chosen = settings(replay=str(old / "old.replay.safetensors"), keep=keep, cache_dir=str(old / "cache"), **FROZEN)
    whole = finetune(chosen)
    curve = chosen.run_dir / "metrics.jsonl"
    assert not curve.exists() or "retention" in curve.read_text()
    plain = dataclasses.replace(chosen, keep="auto", replay="", out_weights=str(tmp_path / "other" / "plain.weights"))
    if not without:
        without.update(weights_of(finetune(plain).out_weights))
    assert not same(weights_of(whole.out_weights), without)
    again = dataclasses.replace(chosen, out_weights=str(tmp_path / "again" / "again.weights"), num_workers=1)
    assert same(weights_of(whole.out_weights), weights_of(finetune(again).out_weights))


def test_kl_counts_old_frames_alone_and_imitation_new_ones(tiny: Path) -> None:
    torch.manual_seed(0)
    policy = load_policy(tiny / "tiny.model", tiny / "tiny.weights")
    reference = frozen_copy(policy)
    with torch.no_grad():
        policy.pi_head.buttons.linear_layer.weight.add_(
            0.1 * torch.randn_like(policy.pi_head.buttons.linear_layer.weight)
        )
    rows, frames = 2, 4
    batch = {
        "features": torch.randn(rows, frames, 256),
        "goals": torch.randn(rows, frames, 8),
        "first": torch.tensor([[True] + [False] * 3] * rows),
        "buttons": torch.randint(0, 8641, (rows, frames)),
        "camera": torch.randint(0, 121, (rows, frames)),
        "replayed": torch.tensor([[False], [True]]).expand(rows, frames).contiguous(),
    }

    def loss(term: Any, part: slice) -> float:
        cut = {name: value[part] for name, value in batch.items()}
        state = policy.initial_state(len(cut["buttons"]))
        latent, after = policy.forward_recurrent(
            policy.net.img_process.from_dense(cut["features"]), cut["goals"], cut["first"], state
        )
        return float(term(cut, latent, after, state).loss.detach())

    imitation, divergence = (
        BehaviorCloning(policy, imitate_replayed=False),
        KLToStart(policy, reference, 1.0, on_replayed=True),
    )
    everywhere = KLToStart(policy, reference, 1.0)
    both, new, replayed = slice(0, 2), slice(0, 1), slice(1, 2)
    assert loss(imitation, both) == pytest.approx(loss(imitation, new), rel=1e-5)
    assert loss(imitation, replayed) == 0
    assert loss(divergence, both) == pytest.approx(loss(everywhere, replayed), rel=1e-4)
    assert loss(divergence, new) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"replay": "PACK"}, "trains the CNN"),
        ({"replay": "PACK", "finetune_mode": "frozen_cnn"}, "add --feature_cache"),
        ({"replay": "gone.replay.safetensors", **FROZEN}, "make_replay makes one"),
        ({"keep": "replay", **FROZEN}, "needs old episodes"),
        ({"keep": "self", **FROZEN}, "SOURCE=policy"),
        ({"keep": "none", "replay": "PACK", **FROZEN}, "REPLAY names some"),
        ({"replay": "PACK", "replay_share": 1.0, **FROZEN}, "replay_share"),
        ({"kl_frames": "replay", "kl_coef": 0.1, **FROZEN}, "kl_frames replay"),
        ({"replay": "PACK", "finetune_mode": "goal", "out_weights": "x.goal.json"}, "REPLAY out"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_said_first(settings: Make, old: Path, change: dict[str, Any], message: str) -> None:
    change = {name: str(old / "old.replay.safetensors") if value == "PACK" else value for name, value in change.items()}
    chosen = settings(**change)
    with pytest.raises(UserError, match=message):
        check(chosen)
        open_windows(chosen)


def test_a_pack_of_another_cnn_is_refused(settings: Make, old: Path, tiny: Path, tmp_path: Path) -> None:
    policy = load_policy(tiny / "tiny.model", tiny / "tiny.weights")
    with torch.no_grad():
        next(policy.net.img_process.cnn.parameters()).add_(0.1)
    cache = FeatureCache(tmp_path, policy)
    with pytest.raises(UserError, match="another CNN"):
        cache.need(open_pack(old / "old.replay.safetensors").paths())


def test_a_pack_has_goals_of_one_mineclip_and_names_it(tiny: Path, tmp_path: Path) -> None:
    folder, pack = tmp_path / "dataset_named", tmp_path / "named.replay.safetensors"
    said, unsaid = write_episode(folder / "a", 1), write_episode(folder / "b", 2)

    def says(episode: Path, sha256: str) -> None:
        write_json(episode / "metadata.json", read_json(episode / "metadata.json") | {"mineclip": {"sha256": sha256}})

    says(said, "a" * 64)
    args = make_replay.Args(str(pack), [folder], **_model(tiny, tmp_path))
    make_replay.main(args)
    assert open_pack(pack).facts["mineclip_sha256"] == "a" * 64
    assert WindowDataset([ListEntry(path) for path in open_pack(pack).paths()], 16).mineclips == {"a" * 64}
    says(unsaid, "b" * 64)
    with pytest.raises(UserError, match="different MineCLIPs"):
        make_replay.main(dataclasses.replace(args, overwrite=True))


def test_a_pack_takes_goals_of_one_size_and_in_the_finer_type(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dataset_mixed"
    half, full = write_episode(folder / "a", 1), write_episode(folder / "b", 2)
    np.save(half / "embeds_attn.npy", np.asarray(Episode(half).goals, np.float16))
    pack = tmp_path / "mixed.replay.safetensors"
    make_replay.main(make_replay.Args(str(pack), [folder], **_model(tiny, tmp_path)))
    for episode in (half, full):
        np.testing.assert_array_equal(Episode(pack / folder.name / episode.name).goals, Episode(episode).goals)
    write_episode(folder / "c", 3, embed_dim=16)
    again = make_replay.Args(str(tmp_path / "other.replay.safetensors"), [folder], **_model(tiny, tmp_path))
    with pytest.raises(UserError, match="goals of different sizes"):
        make_replay.main(dataclasses.replace(again, cache_dir=str(tmp_path / "new_cache")))
    assert not (tmp_path / "new_cache").exists(), "it is said before features are computed"


def test_few_episodes_are_open_at_a_time(old: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each keeps files open, and there may be thousands."""
    alive: weakref.WeakSet[Episode] = weakref.WeakSet()
    most: list[int] = []

    class Watched(Episode):
        def __init__(self, path: Path) -> None:
            super().__init__(path)
            alive.add(self)
            most.append(len(alive))

    monkeypatch.setattr(make_replay, "Episode", Watched)
    args = make_replay.Args(str(old / "old.replay.safetensors"), [old / "dataset_old"], **_model(tiny, old))
    make_replay.main(dataclasses.replace(args, overwrite=True))
    assert len(most) == 24
    assert max(most) <= 2


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("camera", {"shape": []}),
        ("camera", {"shape": "CAMERA"}),
        ("features", {"dtype": "I16"}),
        ("__metadata__", {"episodes": '[["a/b", -64], ["a/c", 832]]'}),
        ("__metadata__", {"cnn_sha256": 3}),
    ],
)
def test_a_pack_of_another_form_is_named(old: Path, tmp_path: Path, name: str, change: dict[str, Any]) -> None:
    good = (old / "old.replay.safetensors").read_bytes()
    length = int.from_bytes(good[:8], "little")
    header = json.loads(good[8 : 8 + length])
    header[name].update(change)
    text = json.dumps(header).encode()
    bad = tmp_path / "bad.replay.safetensors"
    bad.write_bytes(len(text).to_bytes(8, "little") + text + good[8 + length :])
    with pytest.raises(UserError, match="not a replay pack"):
        open_pack(bad)


@pytest.mark.parametrize(("array", "value"), [("buttons", 8641), ("buttons", -1), ("camera", 121)])
def test_actions_that_do_not_exist_are_refused(old: Path, tmp_path: Path, array: str, value: int) -> None:
    bad = tmp_path / "bad.replay.safetensors"
    shutil.copy(old / "old.replay.safetensors", bad)
    pack = open_pack(bad)
    rows = getattr(pack, array)
    np.memmap(bad, rows.dtype, "r+", rows.offset, rows.shape)[3] = value
    with pytest.raises(UserError, match="actions that do not exist"):
        Episode(pack.paths()[0]).tokens()


@pytest.mark.parametrize("fault", ["cut", "header", "json", "empty", "rows"])
def test_a_damaged_pack_is_named(old: Path, tmp_path: Path, fault: str) -> None:
    good = (old / "old.replay.safetensors").read_bytes()
    length = int.from_bytes(good[:8], "little")
    header = json.loads(good[8 : 8 + length])
    if fault == "rows":
        header["camera"]["shape"] = [7]
    text = json.dumps(header).encode()
    data = {
        "cut": good[:-100], "header": b"\xff" * 40, "json": good[:8] + b"[" * length, "empty": b"",
        "rows": len(text).to_bytes(8, "little") + text + good[8 + length :],
    }[fault]  # fmt: skip
    bad = tmp_path / "bad.replay.safetensors"
    bad.write_bytes(data)
    with pytest.raises(UserError, match="cut short" if fault == "cut" else "not a replay pack") as found:
        open_pack(bad)
    assert "bad.replay" in str(found.value)


def test_an_episode_that_is_not_in_the_pack(old: Path) -> None:
    with pytest.raises(UserError, match="no such episode"):
        Episode(old / "old.replay.safetensors" / "dataset_old" / "ep99")


def test_the_command_does_not_replace_a_pack(old: Path, tiny: Path) -> None:
    with pytest.raises(UserError, match="exists already"):
        make_replay.main(
            make_replay.Args(str(old / "old.replay.safetensors"), [old / "dataset_old"], **_model(tiny, old))
        )
    with pytest.raises(UserError, match="does not have a replay pack's ending"):
        make_replay.main(make_replay.Args(str(old / "old.safetensors"), [old / "dataset_old"], **_model(tiny, old)))


def test_no_replay_no_entries(settings: Make) -> None:
    assert replay_entries(settings().replay_source, settings().sampling_dir) == ([], [])
