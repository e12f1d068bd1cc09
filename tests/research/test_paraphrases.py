"""Paraphrases: robustness and discriminability of goals, in numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from research.paraphrases import embed_paraphrases, measure_paraphrases, render_paraphrases
from research.prior_analysis import analyse, prepare, render
from steve1.data.episodes.captions import Captions

PROMPTS = [("dig_dirt", "dig", "dig"), ("swim", "swim", "swim"), ("sing", "", "sing")]
TABLE = {
    "dig": Captions(("Dig", "shovel"), ("get earth",)),
    "swim": Captions(("swim", "paddle", "float")),
    "fly": Captions(("fly",)),
}
# Angles in a plane, in degrees: prompts lie at 0 (dig), 90 (swim) and 200 (sing).
ANGLES = {"dig": 0, "swim": 90, "sing": 200, "shovel": 10, "get earth": 60, "paddle": 80, "float": 100}


class Clip:
    embed_dim = 2

    def encode_text(self, texts: list[str]) -> torch.Tensor:
        angle = math.radians(ANGLES[texts[0]])
        return 3 * torch.tensor([[math.cos(angle), math.sin(angle)]])


class HalfTurn:
    """A prior that turns what it is given by 45 degrees for half of the plane, so that digging becomes swimming."""

    embed_dim = 2

    def samples(self, text: torch.Tensor, seed: int, count: int, middle: bool = False) -> torch.Tensor:
        x, y = text[0].tolist()
        angle = math.atan2(y, x) + (math.radians(90) if 0.1 < y < x and not middle else 0)
        return torch.tensor([[math.cos(angle), math.sin(angle)]] * count)


def cosine(degrees: float) -> float:
    return math.cos(math.radians(degrees))


def test_paraphrases_are_counted_within_between_and_by_the_nearest_prompt() -> None:
    material = prepare(PROMPTS, Clip(), HalfTurn(), [], samples=2, captions=TABLE)  # type: ignore[arg-type]
    assert material.said is not None
    assert material.said.texts == ("shovel", "get earth", "paddle", "float"), "the prompts themselves are left out"
    assert material.said.held_out == (False, True, False, False)
    found = analyse(material)["paraphrases"]
    text, goal = found["text"], found["prior"]
    assert text["within"] == pytest.approx((cosine(50) + cosine(20)) / 2, abs=1e-6)
    assert text["between"] == pytest.approx((cosine(70) + cosine(90) + cosine(20) + cosine(40)) / 4, abs=1e-6)
    assert (text["own"], text["held_out"]) == ([3, 4], [0, 1]), "get earth, at 60 degrees, is nearer to swim"
    assert text["confused"] == [{"text": "get earth", "behaviour": "dig", "nearest": "swim"}]
    assert text["tasks"]["swim"]["own"] == [2, 2]
    assert text["tasks"]["dig"]["own"] == [1, 2]
    assert [each["text"] for each in goal["confused"]] == ["shovel", "get earth"], "the prior turns shovel away"
    assert goal["tasks"]["dig"]["within"] == pytest.approx(cosine(40), abs=1e-6)
    page = render(analyse(material))
    assert "## Paraphrases" in page
    assert "75 % (3 of 4;" in page
    assert "'shovel' (dig) is nearest to swim" in page


def test_goals_are_those_that_commands_play() -> None:
    """Weights whose prompts become the middle of the prior's distribution: there nothing is turned, and the spread is still that of the draws."""
    prompts = [("dig_dirt", "dig", "shovel"), ("swim", "swim", "swim")]
    table = {"dig": Captions(("shovel",), ("get earth",)), "swim": TABLE["swim"]}
    material = prepare(prompts, Clip(), HalfTurn(), [], samples=3, captions=table, middle=True)  # type: ignore[arg-type]
    assert material.said is not None
    goal = analyse(material)["paraphrases"]["prior"]
    assert goal["confused"] == [{"text": "get earth", "behaviour": "dig", "nearest": "swim"}]
    turned, played = cosine(100), cosine(10)
    assert material.samples[0, :, 0] == pytest.approx([played, turned, turned], abs=1e-6)


def test_one_task_and_no_held_out_paraphrases_leave_numbers_out() -> None:
    said = embed_paraphrases(PROMPTS[:1], {"dig": Captions(("dig", "shovel"))}, Clip(), HalfTurn(), 0)  # type: ignore[arg-type]
    assert said is not None
    rows = np.array([[1, 0]], np.float32)
    found = measure_paraphrases(said, ["dig"], {"prior": rows, "text": rows})
    assert (found["text"]["within"], found["text"]["between"], found["text"]["held_out"]) == (None, None, [0, 0])
    blocks = render_paraphrases(found)
    assert blocks[-1] == "Every paraphrase's goal is nearest to its own task's."
    assert embed_paraphrases(PROMPTS[2:], TABLE, Clip(), HalfTurn(), 0) is None  # type: ignore[arg-type]
    plain = prepare(PROMPTS, Clip(), HalfTurn(), [], samples=2)  # type: ignore[arg-type]
    assert "Paraphrases" not in render(analyse(plain))
