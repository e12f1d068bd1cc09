"""Nothing is deleted or replaced that this program did not make: the source is searched for every call that could."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from steve1.core.files import (
    atomic_dir,
    atomic_file,
    atomic_path,
    made,
    remove,
    remove_half_written,
    rename,
    scratch_dir,
)
from steve1.core.paths import ROOT

HELPER = ROOT / "steve1" / "core" / "files.py"
SOURCES = [
    path
    for folder in ("steve1", "benchmarks", "research", "tools", "run_agent")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path != HELPER
] + [ROOT / "evaluate_on_minedojo.py"]
# What may delete or replace, by its name alone, and by module and name where the name has other meanings.
METHODS = {"unlink", "rmdir", "rmtree", "removedirs", "renames"}
FUNCTIONS = {("os", "remove"), ("os", "replace"), ("os", "rename"), ("shutil", "move")}
# Lines of scripts that delete or replace, each with its reason.
SCRIPTS = {
    "tools/setup.sh: rm -rf .venv.old": "only ever made by the next line, of a .venv that does not work",
    "tools/setup.sh: mv .venv .venv.old": "a .venv that does not work",
    'tools/install_minecraft.sh: mv "$file.part" "$file"': "a download, made just before",
    'tools/measure_gpu.sh: rm -f "$OUT_DIR/gpu_$name.json"': "a measurement that is made anew",
}


def deletions(source: str) -> list[str]:
    """ "line: call" of each call that could delete or replace a file."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module in ("os", "shutil"):
            bad = {alias.name for alias in node.names} & (METHODS | {name for _, name in FUNCTIONS})
            found += [f"{node.lineno}: from {node.module} import {name}" for name in sorted(bad)]
        if isinstance(node, ast.Attribute):
            module = node.value.id if isinstance(node.value, ast.Name) else ""
            if node.attr in METHODS or (module, node.attr) in FUNCTIONS:
                found.append(f"{node.lineno}: {ast.unparse(node)}")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            # str.replace takes two arguments, and dataclasses.replace fields by name; Path.replace and Path.rename take one.
            one = len(node.args) == 1 and not node.keywords
            if one and node.func.attr in ("replace", "rename") and ast.unparse(node.func.value) != "dataclasses":
                found.append(f"{node.lineno}: {ast.unparse(node)}")
    return found


@pytest.mark.parametrize(
    "line",
    ["p.unlink()", "shutil.rmtree(p)", "f(shutil.rmtree, p)", "os.remove(p)", "os.replace(a, b)", "p.replace(q)", "p.rename(q)", "from shutil import rmtree", "p.rmdir()"],
)  # fmt: skip
def test_each_way_to_delete_is_seen(line: str) -> None:
    assert deletions(line)
    assert not deletions("text.replace('a', 'b'); dataclasses.replace(x, a=1); names.remove(x)")


def test_everything_that_is_deleted_goes_through_the_helper() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}" for path in SOURCES for line in deletions(path.read_text(encoding="utf-8"))
    ]
    assert not found, "use remove, rename or scratch_dir of steve1/core/files.py"


def test_scripts_delete_nothing_else() -> None:
    found = set()
    for path in [*ROOT.glob("*.sh"), *ROOT.glob("tools/*.sh"), *ROOT.glob("run_agent/*.sh")]:
        for line in path.read_text(encoding="utf-8").splitlines():
            command = line.strip()
            if re.match(r"(rm|mv|unlink|rmdir|find .* -delete)\b", command):
                found.add(f"{path.relative_to(ROOT)}: {command}")
    assert found <= set(SCRIPTS)


def test_only_what_this_run_made_is_removed(tmp_path: Path) -> None:
    users, link, target = tmp_path / "mine.txt", tmp_path / "link", tmp_path / "folder"
    users.write_text("mine")
    target.mkdir()
    (target / "inside").touch()
    for path in (users, made(users), target):
        with pytest.raises(AssertionError, match="was not made"):
            remove(path)
    made(link).symlink_to(target)
    remove(link)
    assert not link.is_symlink()
    assert (target / "inside").exists(), "what a link points at is not removed with it"
    with atomic_file(tmp_path / "ours") as handle:
        handle.write(b"x")
    with atomic_dir(tmp_path / "episode") as folder:
        (folder / "a").touch()
    remove(tmp_path / "ours")
    remove(tmp_path / "episode")
    remove(tmp_path / "episode", asked=True)  # not there: no fault
    remove(users, asked=True)
    assert sorted(os.listdir(tmp_path)) == ["folder"]


def test_a_file_of_the_users_that_was_replaced_is_still_theirs(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("mine")
    with atomic_path(path) as part:
        part.write_text("ours")
    with pytest.raises(AssertionError, match="was not made"):
        remove(path)


def test_only_remains_of_dead_processes_are_swept(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    ours = [f".{name}.{child.pid}.0123abcd.tmp" for name in ("ep", "ep.mp4", "eine pause", "片段", "new\nline")]
    users = [".mine.tmp", ".notes.tmp", "..tmp", ".a.b.c.tmp", f".ep.{os.getppid()}.0123abcd.tmp", f"ep.{child.pid}.0123abcd.tmp", f".ep.{child.pid}.0123ABCD.tmp"]  # fmt: skip
    for name in [*ours[1:], *users]:
        (tmp_path / name).touch()
    (tmp_path / ours[0]).mkdir()
    (tmp_path / ours[0] / "frames.jpgs").touch()
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / ours[1]).touch()
    assert [path.name for path in remove_half_written(tmp_path, {"ep"})] == [ours[0]], "those of another shard stay"
    assert sorted(path.name for path in remove_half_written(tmp_path)) == sorted(ours[1:])
    assert sorted(os.listdir(tmp_path)) == sorted([*users, "below"])
    assert remove_half_written(tmp_path, below=True) == [tmp_path / "below" / ours[1]]


def test_a_scratch_folder_leaves_what_was_renamed_out_of_it(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), scratch_dir(tmp_path / "rec") as folder:
        (folder / "video").write_text("x")
        (folder / "half").touch()
        rename(folder / "video", tmp_path / "rec.mp4")
        raise RuntimeError
    assert os.listdir(tmp_path) == ["rec.mp4"]


def test_files_are_on_the_disk_before_they_have_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file of a folder, and the folder, is synced before the rename, and the folder above after it."""
    events: list[str] = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (events.append(os.readlink(f"/proc/self/fd/{fd}")), sync(fd))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (events.append(f"rename {Path(b).name}"), replace(a, b))[1])
    with atomic_dir(tmp_path / "episode") as folder:
        (folder / "sub").mkdir()
        for name in ("a", "sub/b"):
            (folder / name).write_text("x")
    at = events.index("rename episode")
    assert {Path(name).name for name in events[:at]} == {"a", "b", "sub", folder.name}
    assert events[at + 1 :] == [str(tmp_path)]
    events.clear()
    with atomic_path(tmp_path / "weights.bin") as part:
        part.write_text("x")
    assert events == [str(part), "rename weights.bin", str(tmp_path)]
