"""Parts of the games that need no game: names, pointer, actions, start places, shared memory, the shim's build."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from steve1 import actions
from steve1.core.errors import UserError
from steve1.core.frames import draw_cursor
from steve1.envs import BIOMES, make_env, missing_mods, start_states
from steve1.envs.interface import action_space, check_action
from steve1.envs.luanti import mods, shim
from steve1.envs.luanti.env import scene_nodes
from steve1.envs.luanti.items import game_name, short_counts, short_name
from steve1.envs.luanti.shared import HEADER, PIXELS_AT, STATE_AT, SharedMemory


@pytest.mark.parametrize("biome", BIOMES)
def test_demonstrations_and_evaluation_begin_far_apart(biome: str) -> None:
    everywhere = {
        split: np.array([[s["x"], s["z"]] for kind in BIOMES for s in start_states("luanti", kind, split)])
        for split in ("demo", "eval")
    }
    mine = {split: start_states("luanti", biome, split) for split in ("demo", "eval")}
    assert len(mine["demo"]) >= 25
    assert len(mine["eval"]) >= 20
    for split, other in (("demo", "eval"), ("eval", "demo")):
        places = np.array([[s["x"], s["z"]] for s in mine[split]])
        assert np.linalg.norm(places[:, None] - everywhere[other][None], axis=-1).min() >= 200
    assert all(set(s) >= {"id", "x", "y", "z", "yaw", "split", "biome"} for s in mine["demo"])


def test_start_states_are_copies_and_unknown_names_are_refused() -> None:
    start_states()[0]["x"] = 1e9
    assert start_states()[0]["x"] < 1e8
    with pytest.raises(UserError, match="biome"):
        start_states("luanti", "moon")
    with pytest.raises(UserError, match="environment"):
        make_env("minesweeper")
    with pytest.raises(UserError, match="biome"):
        make_env("luanti", biome="moon")


def test_items_have_short_names() -> None:
    assert short_name("default:tree") == short_name("default:pine_tree") == "log"
    assert short_name("default:grass_4") == "tall_grass"
    assert short_name("farming:seed_wheat") == "wheat_seeds"
    assert short_name("flowers:rose") == "rose"
    assert short_name("mesecons_lamp:lamp_on") == "lamp_lit"
    assert game_name("dirt") == "default:dirt"
    assert game_name("log") == "default:tree"
    assert game_name("bucket:bucket_empty") == "bucket:bucket_empty"
    assert short_counts({"default:tree": 2, "default:aspen_tree": 3.0}) == {"log": 5}  # type: ignore[dict-item]
    assert short_counts(None) == {}


def test_a_scene_stands_ahead_of_the_first_view() -> None:
    start, nodes = {"x": 10.0, "y": 8.5, "z": -20.0}, [{"node": "lamp", "ahead": 3, "right": 1, "up": 2, "param2": 1}]
    places = {yaw: scene_nodes(nodes, start, yaw)[0] for yaw in (0.0, 90.0, 180.0, -90.0, -44.0)}
    assert [(p["x"], p["z"]) for p in places.values()] == [(11, -17), (13, -21), (9, -23), (7, -19), (11, -17)]
    assert places[0.0]["name"] == "mesecons_lamp:lamp_off"
    assert (places[0.0]["up"], places[0.0]["param2"]) == (2, 1)
    for bad in ({"ahead": 3}, {"node": "lamp", "forward": 3}):
        with pytest.raises(UserError, match="scene"):
            scene_nodes([bad], start, 0.0)


def test_mods_are_linked_where_installed_and_named_where_not(tmp_path: Path) -> None:
    share, world = tmp_path / "mods", tmp_path / "world"
    world.mkdir()
    assert mods.link_mods(world, [share]) == []
    assert mods.missing(["mesecons", "pipeworks"], [share]) == {"mesecons": "minetest-mod-mesecons", "pipeworks": ""}
    for name in mods.PACKS["mesecons"][0]:
        (share / "mesecons" / name).mkdir(parents=True)
        (share / "mesecons" / name / "init.lua").touch()
    assert mods.missing(["mesecons"], [share]) == {}
    assert mods.link_mods(world, [share]) == ["mesecons"]
    assert (world / "mesecons_switch" / "init.lua").is_file()
    (share / "mesecons" / "mesecons_lamp" / "init.lua").unlink()
    assert "mesecons" in mods.missing(["mesecons"], [share])
    assert missing_mods("luanti", []) == {}
    assert missing_mods("other", ["mesecons"]) == {"mesecons": "other has no such mod"}


def test_pointer_is_drawn_at_its_tip_and_cut_at_the_edge() -> None:
    frame = np.full((90, 160, 3), 100, np.uint8)
    draw_cursor(frame, 20, 30)
    assert (frame[30, 20] == 0).all()
    changed = np.argwhere((frame != 100).any(-1))
    assert changed.min(0).tolist() == [30, 20]
    assert (changed.max(0) < [46, 36]).all()
    assert (frame == 255).any()
    draw_cursor(frame, 158, 89)
    assert (frame[89, 158] == 0).all()


def test_actions_are_checked() -> None:
    pressed, pitch, yaw = check_action({"forward": 1, "jump": 0, "camera": [3, -4], "ESC": 1})
    assert (pressed, pitch, yaw) == ({"forward", "ESC"}, 3.0, -4.0)
    assert check_action(actions.null_action())[0] == set()
    with pytest.raises(UserError, match="key"):
        check_action({"forwards": 1})
    for camera in ([1.0], [0.0, float("nan")], [0, 0, 0]):
        with pytest.raises(UserError, match="camera"):
            check_action({"camera": camera})
    assert action_space().contains({**actions.null_action(), "camera": np.zeros(2, np.float32)})


def test_shared_memory_turns_rows_and_colours(tmp_path: Path) -> None:
    memory = SharedMemory(tmp_path / "shared", 4, 2)
    raw = np.zeros((2, 4, 4), np.uint8)
    raw[0, 1] = (10, 20, 30, 0)  # bottom row, blue green red
    with open(tmp_path / "shared", "r+b") as file:
        file.seek(PIXELS_AT)
        file.write(raw.tobytes())
    frame = memory.frame()
    assert frame.shape == (2, 4, 3)
    assert frame[1, 1].tolist() == [30, 20, 10]
    frame[:] = 7
    assert memory.frame()[1, 1].tolist() == [30, 20, 10]
    memory.close()


def test_state_is_never_read_half_written(tmp_path: Path) -> None:
    memory = SharedMemory(tmp_path / "shared", 4, 2)
    assert memory.state() == {}
    text = json.dumps({"tick": 3}).encode()
    with open(tmp_path / "shared", "r+b") as file:
        file.seek(STATE_AT)
        file.write(text)
    memory.header["state_len"][0], memory.header["state_seq"][0] = len(text), 2
    assert memory.state() == {"tick": 3}
    memory.header["state_seq"][0] = 3
    assert memory.state() == {}
    memory.close()


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
def test_layout_is_that_of_the_c_struct(tmp_path: Path) -> None:
    source = shim.SOURCE.read_text()
    struct = source[source.index("enum { COMMAND_AT") : source.index("static volatile struct shared")]
    names = [name for name in HEADER.names or () if name != "inputs"]
    shows = "".join(f'printf("%zu ", offsetof(struct shared, {name}));' for name in [*names, "inputs"])
    code = f'#include <stddef.h>\n#include <stdint.h>\n#include <stdio.h>\n{struct}\nint main(void) {{ {shows} printf("%zu %d %d", sizeof(struct shared), STATE_AT, PIXELS_AT); }}'
    (tmp_path / "t.c").write_text(code)
    subprocess.run(["gcc", str(tmp_path / "t.c"), "-o", str(tmp_path / "t")], check=True)
    numbers = [
        int(n) for n in subprocess.run([str(tmp_path / "t")], capture_output=True, text=True, check=True).stdout.split()
    ]
    assert HEADER.fields is not None
    assert numbers == [*(HEADER.fields[n][1] for n in [*names, "inputs"]), HEADER.itemsize, STATE_AT, PIXELS_AT]


def test_missing_compiler_and_broken_source_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken.c"
    broken.write_text("int main(void { return 0; }")
    if shutil.which("gcc"):
        with pytest.raises(UserError, match="did not compile"):
            shim.build_shim(broken, tmp_path)
        assert not list(tmp_path.glob("*.so"))
    monkeypatch.setattr(shim.shutil, "which", lambda *a, **k: None)
    with pytest.raises(UserError, match="not installed") as fault:
        shim.build_shim(broken, tmp_path)
    assert "apt-get install" in str(fault.value)
    with pytest.raises(UserError, match="luanti") as fault:
        shim.find_program("luanti", "minetest", package=shim.PACKAGES)
    assert "minetest-data xvfb" in fault.value.todo


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
def test_a_source_is_compiled_once(tmp_path: Path) -> None:
    source = tmp_path / "small.c"
    source.write_text("int answer(void) { return 42; }")
    first = shim.build_shim(source, tmp_path)
    stamp = os.stat(first).st_mtime_ns
    assert shim.build_shim(source, tmp_path) == first
    assert os.stat(first).st_mtime_ns == stamp
    source.write_text("int answer(void) { return 43; }")
    assert shim.build_shim(source, tmp_path) != first
