"""tools/install_minecraft.sh with fake Pythons, a fake pip and a fake git: what it makes, what it says, what it leaves alone."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from steve1.core.paths import ROOT
from tests.envs.standins.making import make_java

TOOLS = (
    "bash",
    "sh",
    "sed",
    "head",
    "basename",
    "dirname",
    "mkdir",
    "rm",
    "cp",
    "mv",
    "awk",
    "uname",
    "grep",
    "cat",
    "touch",
    "ls",
)
GRADLE = """buildscript {
    repositories {
        maven { url 'https://jitpack.io' }
    }
    dependencies {
        classpath('com.github.SpongePowered:MixinGradle:dcfaf61'){ // 0.6
    }
}
"""
# A Python that knows its version, makes environments of itself, and whose pip writes down what it is asked for.
PYTHON = """#!/bin/bash
case "$1 $2" in
  "-c import"*) echo {version} ;;
  "--version ") echo Python {version}.1 ;;
  "-m venv") mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
  "-m pip")
    [ -z "$PIP_FAILS" ] || { echo "ERROR: No matching distribution found" >&2; exit 1; }
    home="$(dirname "$(dirname "$0")")"; packages="$home/lib/python{version}/site-packages"; mkdir -p "$packages"
    echo "$@" >> "$home/pip.log"
    for word in "$@"; do case "$word" in
      mcio-ctrl*) mkdir -p "$packages/mcio_ctrl-1.5.2.dist-info" ;;
      minestudio*) mkdir -p "$packages/minestudio-1.1.6.dist-info" ;;
      */minerl-source) mkdir -p "$packages/minerl-1.0.2.dist-info"; echo "$JAVA_HOME" > "$home/java.log" ;;
      minedojo) mkdir -p "$packages/minedojo-0.1.dist-info" "$packages/minedojo/sim/Malmo/Minecraft"; cp "$GRADLE_FILE" "$packages/minedojo/sim/Malmo/Minecraft/build.gradle" ;;
    esac; done ;;
esac
"""
GIT = """#!/bin/bash
target="${@: -1}"; mkdir -p "$target"; touch "$target/setup.py"
"""


class Box:
    """A machine of fakes."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bin = folder, folder / "bin"
        self.bin.mkdir()
        for name in TOOLS:
            found = shutil.which(name)
            assert found, name
            (self.bin / name).symlink_to(found)
        self.program("git", GIT)
        self.program("Xvfb", "#!/bin/sh\n")
        (folder / "build.gradle").write_text(GRADLE)
        self.java_home = ""

    def program(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def python(self, version: str) -> None:
        self.program(f"python{version}", PYTHON.replace("{version}", version))

    def run(self, *arguments: str, **more: str) -> tuple[int, str]:
        environment = {
            "PATH": str(self.bin), "HOME": str(self.folder), "FOLDER": str(self.folder / "backends"), "JAVA_HOME": self.java_home,
            "GRADLE_FILE": str(self.folder / "build.gradle"), **more,
        }  # fmt: skip
        done = subprocess.run(
            ["bash", str(ROOT / "tools" / "install_minecraft.sh"), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )
        return done.returncode, done.stdout + done.stderr

    def home(self, name: str) -> Path:
        return self.folder / "backends" / name


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def no_java(box: Box) -> bool:
    """Whether the machine that runs the tests keeps a Java 8 where the script looks."""
    return not any(
        "1.8" in path.name or path.name.startswith(("java-8", "temurin-8", "zulu8"))
        for path in Path("/usr/lib/jvm").glob("*")
    )


def test_mcio_is_installed_once_and_the_second_run_changes_nothing(box: Box) -> None:
    code, said = box.run("mcio")
    assert code == 2
    assert "no suitable Python for mcio" in said
    assert "PYTHON_FOR_IT" in said
    box.python("3.12")
    code, said = box.run("mcio", "--check")
    assert (code, "STILL NEEDED" in said, box.home("mcio").exists()) == (1, True, False)
    code, said = box.run("mcio")
    assert code == 0, said
    assert "installed mcio_ctrl 1.5.2" in said
    log = (box.home("mcio") / "pip.log").read_text()
    assert box.run("mcio")[0] == 0
    assert (box.home("mcio") / "pip.log").read_text() == log


def test_a_python_shim_that_does_not_run_is_passed_over(box: Box) -> None:
    box.program("python3.12", "#!/bin/sh\necho 'pyenv: python3.12: command not found' >&2; exit 127\n")
    box.python("3.13")
    assert box.run("mcio")[0] == 0


def test_minerl_wants_java_8_before_it_builds(box: Box) -> None:
    if not no_java(box):
        pytest.skip("there is a Java 8 on this machine")
    box.python("3.10")
    code, said = box.run("minerl")
    assert code == 2
    assert "compiled with Java 8" in said
    box.java_home = str(make_java(box.folder / "jdk21", "21.0.1"))
    box.program("java", (Path(box.java_home) / "bin" / "java").read_text())
    code, said = box.run("minerl")
    assert "found Java 21" in said
    assert not box.home("minerl").exists()
    box.java_home = str(make_java(box.folder / "jdk8"))
    code, said = box.run("minerl")
    assert code == 0, said
    assert "minerl 1.0.2" in said
    assert (box.home("minerl") / "java.log").read_text().strip() == box.java_home
    assert "setuptools==65.5.0" in (box.home("minerl") / "pip.log").read_text().splitlines()[0]


def test_minerl_0_4_is_refused(box: Box) -> None:
    (box.home("minerl") / "lib" / "python3.9" / "site-packages" / "minerl-0.4.4.dist-info").mkdir(parents=True)
    code, said = box.run("minerl")
    assert code == 2
    assert "need MineRL 1.0" in said
    assert "rm -rf" in said


def test_minedojo_gets_the_package_that_its_build_misses(box: Box) -> None:
    box.python("3.9")
    box.java_home = str(make_java(box.folder / "jdk8"))
    code, said = box.run("minedojo")
    assert code == 0, said
    gradle = next(box.home("minedojo").glob("lib/python*/site-packages/minedojo/sim/Malmo/Minecraft/build.gradle"))
    text = gradle.read_text()
    assert "'MixinGradle-dcfaf61:MixinGradle:dcfaf61'" in text
    assert "SpongePowered" not in text
    assert f'maven {{ url "file:{box.folder}/backends/mixin" }}' in text
    assert text.index("file:") < text.index("jitpack"), "before the servers that do not have it"
    assert gradle.with_name("build.gradle.published").read_text() == GRADLE


def test_a_minedojo_whose_build_misses_it_still_gets_it_with_the_next_call(box: Box) -> None:
    box.python("3.9")
    box.java_home = str(make_java(box.folder / "jdk8"))
    box.program("git", "#!/bin/sh\necho 'Could not resolve host' >&2; exit 128\n")
    code, said = box.run("minedojo")
    assert code == 2
    assert "MixinGradle could not be fetched" in said
    code, said = box.run("minedojo", "--check")
    assert code == 1
    assert "STILL NEEDED: MixinGradle" in said
    box.program("git", GIT)
    assert box.run("minedojo")[0] == 0
    assert box.run("minedojo", "--check")[0] == 0


def test_what_else_is_missing_is_said_and_the_code_is_1(box: Box) -> None:
    if not no_java(box):
        pytest.skip("there is a Java 8 on this machine")
    box.python("3.10")
    (box.bin / "Xvfb").unlink()
    code, said = box.run("minestudio")
    assert code == 1, said
    assert "installed minestudio 1.1.6" in said
    assert said.count("STILL NEEDED") == 3, "Java, a display, and the summary"
    assert box.run("minecraft")[0] == 2
    assert "mcio|minerl|minedojo|minestudio" in box.run("--help")[1]


def test_a_pip_that_fails_is_no_dead_end(box: Box) -> None:
    box.python("3.12")
    code, said = box.run("mcio", PIP_FAILS="1")
    assert code == 2
    assert "ERROR: No matching distribution" in said, "pip's own words stay"
    assert "pip could not install mcio-ctrl" in said
    assert "next:" in said
    code, said = box.run("mcio")
    assert code == 0, "the same command goes on"
    assert "installed mcio_ctrl 1.5.2" in said
