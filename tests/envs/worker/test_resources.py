"""What workers are handed: ports, heap, display, Java's variables."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from steve1.core.errors import UserError
from steve1.envs.worker import resources


def test_no_two_workers_have_a_port_in_common_and_none_that_is_in_use() -> None:
    one, two = resources.Ports(3), resources.Ports(3)
    assert not set(one.numbers) & set(two.numbers)
    one.close()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", one.numbers[0]))
        three = resources.Ports(3)
        assert one.numbers[0] not in three.numbers, "its lock is free again, but somebody listens"
        assert not set(two.numbers) & set(three.numbers)
    two.close()
    three.close()
    first = two.numbers[0]
    with pytest.raises(UserError, match="not enough free ports"):
        resources.Ports(3, first=first, last=first + 2)
    again = resources.Ports(2, first=first, last=first + 2)
    assert sorted(again.numbers) == [first, first + 1], "what could be had was given back"
    again.close()


def test_the_heap_is_what_is_wanted_or_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "free_memory_mb", lambda: 20_000.0)
    assert (resources.heap_for(4096), resources.heap_for(0)) == (4096, 0)
    monkeypatch.setattr(resources, "free_memory_mb", lambda: 3000.0)
    assert resources.heap_for(4096) == 1800
    monkeypatch.setattr(resources, "free_memory_mb", lambda: 900.0)
    with pytest.raises(UserError, match="too little free memory") as told:
        resources.heap_for(4096)
    assert "--workers" in told.value.todo


def test_without_a_display_xvfb_is_wanted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(resources.sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    assert resources.needs_xvfb(None)
    assert not resources.needs_xvfb(False)
    monkeypatch.setenv("DISPLAY", ":0")
    assert not resources.needs_xvfb(None)
    assert resources.needs_xvfb(True)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="no display") as told:
        resources.open_display(640, 360)
    assert "apt-get install" in told.value.todo


def test_java_is_told_of_heap_and_folder(tmp_path: Path) -> None:
    assert resources.java_environment(0, tmp_path, {"_JAVA_OPTIONS": "-Da=1"}) == {}
    given = resources.java_environment(2048, tmp_path, {"_JAVA_OPTIONS": "-Xmx9G"})
    assert given == {"_JAVA_OPTIONS": "-Xmx9G -Xmx2048M", "TMPDIR": str(tmp_path)}
    assert resources.java_environment(2048, tmp_path, {})["_JAVA_OPTIONS"] == "-Xmx2048M"
