"""What validation says of actions and goals, against the same worked out directly from the policy's answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from steve1.actions import BUTTONS, N_BUTTONS, N_CAMERA, NULL_CAMERA, to_env
from steve1.data.loading.lists import read_list
from steve1.data.loading.windows import WindowDataset
from steve1.policy import GoalPolicy, load_policy
from steve1.policy.loss import head_kl, head_loss
from steve1.training.batches import open_windows
from steve1.training.config import TrainSettings
from steve1.training.distributed import Ranks
from steve1.training.logging.action_metrics import ActionMetrics
from steve1.training.validate import chosen_windows, validate

Make = Callable[..., TrainSettings]
ALONE = Ranks(0, 1, torch.device("cpu"))
T = 20


def answers(policy: GoalPolicy, window: dict[str, Any], goals: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Probabilities of buttons (T, 8641) and camera (T, 121), and the window's mean loss, from the plain forward pass."""
    frames, first = torch.from_numpy(window["frames"])[None], torch.from_numpy(window["first"])[None]
    with torch.no_grad():
        found = policy(frames, torch.from_numpy(goals)[None], first, policy.initial_state(1))
    buttons, camera = found.buttons[0].double().numpy(), found.camera[0].double().numpy()
    rows = np.arange(len(buttons))
    loss = -(buttons[rows, window["buttons"]] + camera[rows, window["camera"]]).mean()
    return np.exp(buttons), np.exp(camera), float(loss)


@pytest.fixture
def case(
    settings: Make, tiny: Path
) -> tuple[GoalPolicy, WindowDataset, Callable[[int], tuple[dict[str, float], ActionMetrics, dict[str, float]]]]:
    """A policy, its validation windows, and a function that validates four of them in batches of a size."""
    policy = load_policy(tiny / "tiny.model", tiny / "tiny.weights")
    # Heads at random guess everywhere; a little sharper, and they press several keys and turn.
    with torch.no_grad():
        for head in (policy.pi_head.buttons, policy.pi_head.camera):
            head.linear_layer.weight.mul_(300.0)
    _, val, _ = open_windows(settings(T=T))
    assert val is not None

    def look(batch_size: int) -> tuple[dict[str, float], ActionMetrics, dict[str, float]]:
        insight = ActionMetrics()
        chosen = settings(val_windows=4, T=T, trunc_t=8, batch_size=batch_size)
        results = validate(policy, val, chosen, ALONE, torch.float32, insight)
        return insight.numbers(), insight, results

    return policy, val, look


def pressed_of(buttons: np.ndarray, camera: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keys (N, 20) and degrees (N, 2) as the game would get them."""
    actions = to_env(buttons, camera)
    keys = np.array([[bool(action[name]) for name in BUTTONS] for action in actions])
    return keys, np.array([action["camera"] for action in actions])


def test_actions_as_the_game_would_get_them(case: Any) -> None:
    policy, val, look = case
    numbers, insight, _ = look(2)
    windows = [val.window(0, index) for index in chosen_windows(val, 4)]
    found = [answers(policy, window, window["goals"]) for window in windows]
    p_buttons, p_camera = (np.concatenate([row[part] for row in found]) for part in (0, 1))
    truth, turned = pressed_of(
        *(np.concatenate([window[name] for window in windows]) for name in ("buttons", "camera"))
    )
    guess, guessed = pressed_of(p_buttons.argmax(1), p_camera.argmax(1))
    assert guess.any()
    assert np.abs(guessed).max() > 0

    scores = {}
    for column, name in enumerate(BUTTONS):
        if truth[:, column].any():
            hits = (truth & guess)[:, column].sum()
            scores[name] = 2 * hits / (truth[:, column].sum() + guess[:, column].sum())
    assert set(scores) == {"attack", "forward"}
    assert {name: numbers[f"f1/{name}"] for name in scores} == pytest.approx(scores, abs=1e-6)
    assert numbers["f1_mean"] == pytest.approx(np.mean(list(scores.values())), abs=1e-6)
    assert not [name for name in numbers if name.startswith("f1/") and name[3:] not in scores]

    error = np.sqrt(((turned - guessed) ** 2).sum(1))
    moves = np.abs(turned).max(1) > 0
    assert 0 < moves.mean() < 1
    assert numbers["camera_error_degrees"] == pytest.approx(error.mean(), rel=1e-5)
    assert numbers["camera_error_turning_degrees"] == pytest.approx(error[moves].mean(), rel=1e-5)

    # What the policy would do when drawing: the expectation over every class, decoded by the game's own table.
    keys_of_class, _ = pressed_of(np.arange(N_BUTTONS), np.full(N_BUTTONS, NULL_CAMERA))
    shares = insight.button_shares()
    for column, name in enumerate(BUTTONS):
        assert shares[name][0] == pytest.approx(truth[:, column].mean(), abs=1e-6)
        assert shares[name][1] == pytest.approx((p_buttons @ keys_of_class[:, column]).mean(), abs=1e-5)
    turning_class = NULL_CAMERA + 11
    may_turn = np.abs(pressed_of(np.arange(N_BUTTONS), np.full(N_BUTTONS, turning_class))[1]).max(1) > 0
    _, degrees_of_class = pressed_of(np.full(N_CAMERA, int(may_turn.argmax())), np.arange(N_CAMERA))
    p_turn = (p_buttons @ may_turn)[:, None] * p_camera
    for degrees, recorded, drawn in insight.camera_shares()["pitch"]:
        if abs(degrees) > 1e-9:
            here = np.abs(degrees_of_class[:, 0] - degrees) < 1e-6
            assert recorded == pytest.approx((np.abs(turned[:, 0] - degrees) < 1e-6).mean(), abs=1e-6)
            assert drawn == pytest.approx(p_turn[:, here].sum(1).mean(), abs=1e-5)
    for bins in insight.camera_shares().values():
        assert sum(row[1] for row in bins) == pytest.approx(1.0, abs=1e-6)
        assert sum(row[2] for row in bins) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_what_the_goal_is_worth(case: Any, batch_size: int) -> None:
    """Of four windows in pairs from half the list apart, each is told the other's goals."""
    policy, val, look = case
    numbers, _, results = look(batch_size)
    windows = [val.window(0, index) for index in chosen_windows(val, 4)]
    true = np.array([answers(policy, window, window["goals"])[2] for window in windows])
    shuffled = np.array(
        [answers(policy, window, windows[(index + 2) % 4]["goals"])[2] for index, window in enumerate(windows)]
    )
    none = np.array([answers(policy, window, np.zeros_like(window["goals"]))[2] for window in windows])
    assert results["loss"] == pytest.approx(true.mean(), rel=1e-5)
    for name, other in (("shuffled", shuffled), ("none", none)):
        gaps = true - other
        assert np.abs(gaps).max() > 1e-3
        assert numbers[f"goal/loss_{name}"] == pytest.approx(other.mean(), rel=1e-5)
        assert numbers[f"goal/true_minus_{name}"] == pytest.approx(gaps.mean(), abs=2e-5)
        assert numbers[f"goal/error_{name}"] == pytest.approx(gaps.std(ddof=1) / 2, rel=1e-2, abs=1e-5)


def test_pictures_go_through_the_network_once(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    policy, _, look = case
    seen: list[int] = []
    encode = policy.encode
    monkeypatch.setattr(
        policy,
        "encode",
        lambda frames, **more: seen.append(frames.shape[0] * frames.shape[1]) or encode(frames, **more),
    )
    look(2)
    assert sum(seen) == 4 * T


def test_one_goal_for_all_has_no_other_to_be_compared_with(settings: Make, tiny: Path) -> None:
    chosen = settings(val_windows=4, T=T)
    assert chosen.val_path is not None
    val = WindowDataset(read_list(chosen.val_path), T, fixed=True, fixed_goal=np.ones(8, np.float32))
    policy, insight = load_policy(tiny / "tiny.model", tiny / "tiny.weights"), ActionMetrics()
    validate(policy, val, chosen, ALONE, torch.float32, insight)
    assert "goal/true_minus_none" in insight.numbers()
    assert "goal/true_minus_shuffled" not in insight.numbers()


def test_sums_over_classes_are_not_rounded_under_autocast(tiny: Path) -> None:
    head = load_policy(tiny / "tiny.model", tiny / "tiny.weights").pi_head.buttons
    torch.manual_seed(0)
    latent, target = 50 * torch.randn(32, head.linear_layer.in_features), torch.randint(N_BUTTONS, (32,))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = head_loss(head, latent, target, columns=torch.ones(N_BUTTONS, 1))
        apart = head_kl(head, latent, head, latent + 20 * torch.randn_like(latent))
        logits = head.logits(latent)
    p = torch.softmax(logits.double(), dim=1)
    expected = -(p * p.clamp(min=1e-300).log()).sum(1)
    torch.testing.assert_close(found.expected[:, 0], torch.ones(32), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.entropy.double(), expected, atol=1e-4, rtol=0)
    assert (found.entropy != found.entropy.bfloat16().float()).any()
    assert apart > 0
    assert apart != apart.bfloat16().float()


def test_sums_leave_the_device_before_they_become_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Apple's GPU has no float64."""
    order: list[str] = []
    for name in ("cpu", "double"):
        real = getattr(torch.Tensor, name)

        def called(tensor: torch.Tensor, name: str = name, real: Any = real) -> torch.Tensor:
            order.append(name)
            return real(tensor)  # type: ignore[no-any-return]

        monkeypatch.setattr(torch.Tensor, name, called)
    ActionMetrics().share(ALONE)
    assert order == ["cpu", "double"]
