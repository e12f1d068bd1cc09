"""Paths that commands are given in place of a dataset folder."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from steve1.commands.data import embed
from steve1.core.errors import UserError
from steve1.core.paths import resolve
from steve1.data.episodes.listing import find_datasets

PACK = "data/mini/mini.replay.safetensors"


@pytest.mark.parametrize(
    "read", [lambda path: find_datasets([path]), lambda path: embed.main(embed.Args(dataset_dir=path))]
)
def test_a_replay_pack_in_place_of_pictures_is_named(read: Callable[[str], object]) -> None:
    with pytest.raises(UserError, match="features, not pictures") as caught:
        read(PACK)
    assert str(resolve(PACK)) in str(caught.value)
