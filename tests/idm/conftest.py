"""Labelling with an oracle in the model's place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from steve1.data.recordings.shards import Shard
from steve1.idm.labelling import folder as labelling
from steve1.idm.labelling.folder import LabelSummary, Machine, label_folder
from steve1.idm.labelling.settings import LabelSettings
from tests.idm.oracle import Oracle

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """Names of a model's files, for the settings."""
    weights = tmp_path / "x_idm.weights"
    weights.write_bytes(b"not read")
    return str(GOLDEN / "idm_tiny.model"), str(weights)


@pytest.fixture
def label(files: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., LabelSummary]:
    """`label_folder` with an oracle in the model's place."""

    def call(
        videos: Path,
        output: Path,
        oracle: Any = None,
        *,
        shard: Shard | None = None,
        overwrite: bool = False,
        **more: Any,
    ) -> LabelSummary:
        monkeypatch.setattr(labelling, "load_idm", lambda *args, **keys: oracle or Oracle())
        settings = LabelSettings(idm_model=files[0], idm_weights=files[1], **{"mineclip_frames": False, **more})
        return label_folder(videos, output, settings, Machine(shard=shard or Shard()), overwrite=overwrite)

    return call
