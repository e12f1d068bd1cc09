"""The benchmark of a session plays, and counts what a client was sent."""

from __future__ import annotations

import pytest

from tests.rollout.fakes import FakeEnv


@pytest.mark.e2e
@pytest.mark.parametrize("h264", [False, True])
def test_a_session_is_measured_from_the_tick_to_the_client(h264: bool) -> None:
    pytest.importorskip("websockets", reason="websockets is not installed")
    from benchmarks.live import measure_live

    found = measure_live(ticks=30, h264=h264, similarity=False, game=lambda: FakeEnv(size=(360, 640)), rate=40.0)  # type: ignore[arg-type,return-value]
    assert found["picture"] == "640x360"
    assert found["ticks"] == 30
    assert 0 < found["frames"] == 30 - found["missed"]
    assert 0 < found["frame_ms"]["p50"] <= found["frame_ms"]["p99"] <= found["frame_ms"]["max"]
    assert 0 <= found["lateness_ms"]["p50"] <= found["lateness_ms"]["p99"]
    assert all(each["ms"] > 0 and 100 < each["bytes"] < 640 * 360 * 3 for each in found["encoders"].values())
    assert found["bytes_per_frame"] == pytest.approx(found["encoders"][found["sent"]]["bytes"] + 150, rel=0.5, abs=400)
