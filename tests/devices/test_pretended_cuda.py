"""Training, validation, acting, reinforcement learning, labelling and embedding on a pretended CUDA device: one device throughout, no waiting for it, memory as the planner says.

Numbers, speed and kernels are another matter: `python -m steve1 gpu_check` tries them on a real card.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.devices.cases import CASES, SIZES, STEPS, VALIDATED
from tests.devices.learners import PRECISIONS, REINFORCED, VIDEO
from tests.devices.pretend import GIB, library, run_cases

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(900),  # one process runs all cases before the first test
    pytest.mark.skipif(library()[0] is None, reason=f"no pretended CUDA device: {library()[1]}"),
]
# The estimate of tensors may be off by this share; where penalties come together, and where little is trained, it may say more.
LESS, MORE = 0.03, 0.08


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """What every case found, in one process."""
    return run_cases("tests.devices.cases", within=800)


def of(found: dict[str, Any], name: str) -> dict[str, Any]:
    figures: dict[str, Any] = found[name]
    assert "fault" not in figures, figures["fault"]
    return figures


def looked_at(figures: dict[str, Any], *, validates: bool) -> None:
    """A step, and a validation's chunk where there is one, read nothing; validating takes less memory than training."""
    assert figures["reads"] == {}, "the host waits for the device in a training step"
    if validates:
        assert figures["validation_reads"] == {}, "the host waits for the device in a validation's chunk"
        assert figures["validation"] <= figures["peak"], "validation needs more memory than training"


@pytest.mark.parametrize("name", [*STEPS, "second_card"])
def test_a_step_stays_on_its_device_and_reads_nothing(found: dict[str, Any], name: str) -> None:
    looked_at(of(found, name), validates=name.rpartition("_")[0] in VALIDATED)


@pytest.mark.parametrize("name", REINFORCED)
def test_a_step_of_reinforcement_learning_stays_on_its_device_and_reads_nothing(
    found: dict[str, Any], name: str
) -> None:
    figures = of(found, f"rl_{name}")
    assert figures["reads"] == {}, "the host waits for the device in a learning step"
    assert figures["device"] == str(REINFORCED[name].card)
    most = figures["estimate"] / (1 - LESS) + figures["held"]
    assert figures["peak"] <= most, "more memory than training with as many rows"


@pytest.mark.parametrize("name", PRECISIONS)
def test_a_step_of_the_inverse_dynamics_model_stays_on_its_device_and_reads_nothing(
    found: dict[str, Any], name: str
) -> None:
    figures = of(found, f"idm_{name}")
    assert figures["reads"] == {}, "the host waits for the device in a training step"
    assert figures["device"] == "cuda:1"


def test_labelling_reads_the_answers_of_each_window_and_nothing_else(found: dict[str, Any]) -> None:
    figures = of(found, "idm_label")
    assert figures["frames"] == VIDEO
    assert sum(figures["reads"].values()) == 2 * figures["windows"]
    assert all("steve1/idm/label.py" in place for place in figures["reads"]), figures["reads"]


@pytest.mark.parametrize("name", SIZES)
def test_memory_is_what_the_planner_says(found: dict[str, Any], name: str) -> None:
    figures = of(found, f"size_{name}")
    peak, estimate = figures["peak"] / GIB, figures["estimate"] / GIB
    assert (1 - LESS) * peak <= estimate <= (1 + MORE) * peak, f"{peak:.2f} GiB alive, {estimate:.2f} estimated"
    looked_at(figures, validates=SIZES[name].validates)


@pytest.mark.parametrize("name", ["act_one", "act_many", "act_many_bf16", "act_second_card"])
def test_acting_stays_on_its_device_and_reads_nothing(found: dict[str, Any], name: str) -> None:
    figures = of(found, name)
    assert figures["reads"] == {}
    assert figures["device"] == ("cuda:1" if name == "act_second_card" else "cuda:0")


def test_features_and_embeddings_are_computed_in_passes(found: dict[str, Any]) -> None:
    features, goals = of(found, "encode"), of(found, "embed")
    assert features["shape"] == [256, 256]
    assert features["peak"] < 3 * GIB
    assert features["reads"] == goals["reads"] == {}
    assert goals["shape"] == [17, 512]
    assert goals["device"] == "cuda:0"


def test_every_case_is_looked_at() -> None:
    others = {*(f"rl_{name}" for name in REINFORCED), *(f"idm_{name}" for name in PRECISIONS), "idm_label"}
    others |= {"second_card", "act_one", "act_many", "act_many_bf16", "act_second_card", "encode", "embed"}
    assert set(CASES) == {*STEPS, *(f"size_{name}" for name in SIZES), *others}
