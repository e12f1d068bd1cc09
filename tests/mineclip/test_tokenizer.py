"""CLIP's tokenizer, loaded offline and alone."""

from __future__ import annotations

import sys

import pytest

from steve1.core.errors import UserError
from steve1.mineclip.tokenizer import tokenize


def test_known_ids() -> None:
    """These ids stand for this text in every CLIP."""
    ids = tokenize(["a photo of a cat", "A  Photo of a\tCAT "])
    assert ids.shape == (2, 77)
    assert ids[0, :7].tolist() == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert ids[0, 7:].sum() == 0
    assert ids[1].tolist() == ids[0].tolist()


def test_long_prompts_are_cut_to_75_tokens_and_keep_their_end() -> None:
    ids = tokenize(["dig " * 200])
    assert ids[0, 0] == 49406
    assert ids[0, 76] == 49407
    assert len(set(ids[0, 1:76].tolist())) == 1


def test_the_package_itself_is_not_imported() -> None:
    tokenize(["x"])
    assert "clip" not in sys.modules
    assert "torchvision" not in sys.modules


@pytest.mark.parametrize("texts", [[""], ["  "], ["a", None], "bare"])
def test_bad_prompts(texts: list[str]) -> None:
    with pytest.raises(UserError):
        tokenize(texts)
