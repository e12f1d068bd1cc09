"""An MCio folder in which Minecraft is the stand-in, so that mcio-ctrl's own launcher and server start it."""

from __future__ import annotations

import json
import os
import textwrap
from pathlib import Path

import pytest

from steve1.core.errors import UserError
from steve1.envs.minecraft.packages import find_interpreter

SCRIPT = Path(__file__).with_name("mcio_stand_in.py")
VERSION, RUNTIME = "1.21.3", "java-runtime-delta"


def python() -> str:
    """mcio-ctrl's own Python; skips the test where it is not installed."""
    try:
        return str(find_interpreter("mcio"))
    except UserError as fault:
        pytest.skip(f"mcio: {fault.what} ({fault.todo}; it needs a Python ≥ 3.12)")


def make_home(folder: Path) -> Path:
    """An MCio folder with an installed instance "steve1" and a server, both of them the stand-in."""
    java = f'#!/bin/sh\nexec "{python()}" "{SCRIPT}" "$@"\n'
    instance, server = folder / "instances" / "steve1", folder / "servers" / VERSION
    for place in (instance, server):
        program = place / "runtime" / RUNTIME / "linux" / RUNTIME / "bin" / "java"
        program.parent.mkdir(parents=True)
        program.write_text(java)
        os.chmod(program, 0o755)
    (server / "server.jar").touch()
    (instance / "saves").mkdir()
    (instance / "options.txt").write_text("fov:0.5\nguiScale:0\n")
    versions = instance / "versions" / "stand-in"
    versions.mkdir(parents=True)
    quick = {
        "rules": [{"action": "allow", "features": {"is_quick_play_singleplayer": True}}],
        "value": ["--quickPlaySingleplayer", "${quickPlaySingleplayer}"],
    }
    size = {
        "rules": [{"action": "allow", "features": {"has_custom_resolution": True}}],
        "value": ["--width", "${resolution_width}", "--height", "${resolution_height}"],
    }
    version = {
        "id": "stand-in", "mainClass": "Main", "type": "release", "assets": "1", "libraries": [], "javaVersion": {"component": RUNTIME, "majorVersion": 21},
        "arguments": {"jvm": [], "game": ["--username", "${auth_player_name}", "--userType", "${user_type}", quick, size]},
    }  # fmt: skip
    (versions / "stand-in.json").write_text(json.dumps(version))
    (folder / "mcio.yaml").write_text(
        textwrap.dedent(f"""
        config_version: 1
        instances:
          steve1: {{name: steve1, launch_version: stand-in, minecraft_version: "{VERSION}", worlds: {{}}}}
        world_storage: {{}}
        servers:
          "{VERSION}": {{minecraft_version: "{VERSION}", jvm_version: {RUNTIME}}}
    """)
    )
    return folder
