"""Speed is frames by the time of the same span, and the remaining time comes without jumps."""

from __future__ import annotations

import itertools

import pytest

from steve1.training.logging.metrics import Clock


class Watch:
    """A time that moves when it is told to."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def test_speed_leaves_pauses_out_and_the_runs_seconds_do_not() -> None:
    watch = Watch()
    clock = Clock(seconds=50.0, now=watch)
    with clock.waiting():
        watch.time += 2.0
    watch.time += 6.0
    with clock.pause("validation"):
        watch.time += 30.0
    clock.frames += 80
    found = clock.read()
    assert found == {"frames_per_second": 10.0, "data_wait_share": 0.25, "seconds": 88.0}
    assert clock.read()["frames_per_second"] == 0.0


@pytest.mark.parametrize(("slow_start", "noise"), [(0.0, 0.0), (20.0, 0.0), (0.0, 0.2)])
def test_the_remaining_time_falls_evenly_through_validations(slow_start: float, noise: float) -> None:
    """1000 steps of a second, a validation of 30 s every 50: at each line the promise is near the truth."""
    watch, steps, every = Watch(), 1000, 50
    clock = Clock(now=watch)
    with clock.pause("validation"):  # of the starting weights
        watch.time += 30.0
    clock.read()
    watch.time += slow_start  # the first step warms up
    promised = []
    for step in range(1, steps + 1):
        watch.time += 1.0 + (noise if step // 10 % 2 else -noise)
        clock.frames += 128
        if step % 10 == 0 or step == 1:
            clock.read()
            left = clock.left((steps - step) * 128, validation=(steps - step) // every)
            promised.append((step, left, watch.time))
        if step % every == 0:
            with clock.pause("validation"):
                watch.time += 30.0
    end = watch.time - 30.0  # the last validation belongs to the end
    for step, left, now in promised:
        if 100 <= step < 900:
            assert left == pytest.approx(end - now, rel=0.12)
    jumps = [
        (before - after) - (later - now) for (_, before, now), (_, after, later) in itertools.pairwise(promised[10:])
    ]
    assert max(map(abs, jumps)) < 60
