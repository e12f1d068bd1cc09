"""The mini inverse dynamics model labels a play of the game that it was not trained on."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from steve1 import load_idm
from steve1.actions import BUTTONS, to_degrees
from steve1.core.files import read_json
from steve1.core.frames import agent_frame
from steve1.core.paths import ROOT
from steve1.data.media.video import RECORDER_SIZE, VideoWriter
from steve1.envs import make_env, start_states
from steve1.idm.label import Labels
from steve1.idm.labelling import folder
from steve1.idm.labelling.folder import LabelSummary, Machine, label_folder
from steve1.idm.labelling.settings import LabelSettings
from steve1.idm.metrics import true_actions
from steve1.idm.network import InverseDynamicsModel
from steve1.idm.training.settings import MINI
from steve1.rollout.play import play
from steve1.rollout.players import BABBLING, make_player

MODEL, WEIGHTS = (ROOT / "data/mini" / f"mini_idm.{kind}" for kind in ("model", "weights"))


@pytest.fixture(scope="module")
def env() -> Iterator[Any]:
    with make_env("luanti", timeout_s=120) as env:
        yield env


def test_it_is_small_and_says_how_good_it_is() -> None:
    model = load_idm(MODEL, WEIGHTS)
    assert model.config == MINI
    assert WEIGHTS.stat().st_size < 5e6
    told = read_json(f"{WEIGHTS}.json")
    assert (told["kind"], told["env"]) == ("idm", "luanti")
    assert set(told["thresholds"]) == set(BUTTONS)


@pytest.mark.game
def test_it_labels_a_play_at_a_place_that_it_has_not_seen(env: Any) -> None:
    start = start_states("luanti", BABBLING["babble_meadow"].biome, "eval")[3]
    frames: list[Any] = []
    actions: list[Any] = []

    def keep(frame: Any, action: Any, step: int) -> None:
        frames.append(agent_frame(frame))
        actions.append(action)

    play(make_player("babble_meadow", 7), env, 300, seed=7, start=start, on_frame=keep)
    pressed, degrees = true_actions(actions)
    found = load_idm(MODEL, WEIGHTS).label(iter(frames))
    turned = to_degrees(found.camera.argmax(2))
    left = ((turned - degrees) ** 2).sum(0) / ((degrees - degrees.mean(0)) ** 2).sum(0)
    assert (left < 0.5).all(), f"camera R² {1 - left}"
    attack = BUTTONS.index("attack")
    guessed = np.exp(found.buttons[:, attack, 1]) > 0.5
    assert (guessed == pressed[:, attack]).mean() > max(pressed[:, attack].mean(), 1 - pressed[:, attack].mean())


class Remembering:
    """A model that answers for the same frames as before without the network."""

    def __init__(self, model: InverseDynamicsModel) -> None:
        self._model = model
        self._labels: dict[str, Labels] = {}
        self._outputs: dict[str, Any] = {}

    def label(self, frames: Iterable[NDArray[np.uint8]]) -> Labels:
        seen = list(frames)
        key = hashlib.sha256(np.stack(seen)).hexdigest()
        if key not in self._labels:
            self._labels[key] = self._model.label(iter(seen))
        return self._labels[key]

    def __call__(self, frames: torch.Tensor) -> Any:
        key = hashlib.sha256(frames.numpy()).hexdigest()
        if key not in self._outputs:
            self._outputs[key] = self._model(frames)
        return self._outputs[key]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


class Spoiled:
    """A model whose labels of a video are spoiled."""

    def __init__(self, model: Remembering, spoil: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
        self._model, self._spoil = model, spoil

    def label(self, frames: Iterable[NDArray[np.uint8]]) -> Labels:
        found = self._model.label(frames)
        return dataclasses.replace(found, buttons=self._spoil(found.buttons), camera=self._spoil(found.camera))

    def __call__(self, frames: torch.Tensor) -> Any:
        return self._model(frames)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def yaw_inverted(labels: NDArray[Any]) -> NDArray[Any]:
    """The camera's bins (N, 2, 11) of yaw the other way round; buttons (N, 20, 2) as they are."""
    if labels.shape[1] == 2:
        labels = labels.copy()
        labels[:, 1] = labels[:, 1, ::-1]
    return labels


#: what is done to the labels, and what the report says of them
SPOILED: dict[str, tuple[Callable[[NDArray[Any]], NDArray[Any]], str]] = {
    "shifted by two frames": (lambda labels: np.roll(labels, 2, axis=0), "the labels are off by"),
    "yaw inverted": (yaw_inverted, "the yaw labels have the wrong sign"),
    "of another part of it": (lambda labels: np.roll(labels, len(labels) // 2, axis=0), "the picture does not follow"),
}


@pytest.mark.game
def test_spoiled_labels_of_the_game_are_caught(env: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a minute of play as the web has it: 640x360, H.264 at CRF 28. The player turns often: few turns say nothing about the labels."""
    start = start_states("luanti", BABBLING["babble_shore"].biome, "eval")[4]
    (tmp_path / "v").mkdir()
    with VideoWriter(tmp_path / "v" / "play.mp4", *RECORDER_SIZE, crf=28) as writer:
        player = make_player("babble_shore", 3)
        play(player, env, 600, seed=3, start=start, on_frame=lambda frame, action, step: writer.write(frame))
    model = Remembering(load_idm(MODEL, WEIGHTS))
    settings = LabelSettings(idm_model=str(MODEL), idm_weights=str(WEIGHTS), mineclip_frames=False)

    def label(name: str, spoil: Callable[[NDArray[Any]], NDArray[Any]]) -> LabelSummary:
        monkeypatch.setattr(folder, "load_idm", lambda *args, **more: Spoiled(model, spoil))
        return label_folder(tmp_path / "v", tmp_path / name, settings, Machine(device="cpu"))

    good = label("good", lambda labels: labels)
    assert good.frames > 450, good.rejected
    for name, (spoil, reason) in SPOILED.items():
        bad = label(name, spoil)
        assert not bad.episodes, name
        assert any(each["reason"].startswith(reason) for each in bad.records[0]["rejected"]), (name, bad.rejected)
