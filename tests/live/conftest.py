"""What the tests of live sessions share."""

from __future__ import annotations

import pytest

from steve1.live import host


@pytest.fixture(autouse=True)
def patient_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client of a test reads when it comes to it, and answers no ping before; on a busy machine that can take its time."""
    monkeypatch.setattr(host, "_GONE_S", 600)
