"""The packages that run Minecraft: which Python and Java each needs, and what is installed in its own virtual environment.

The environments are `data/backends/<name>`, made by `tools/install_minecraft.sh`. Nothing of a package is imported here: only its files
are looked at.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from steve1.core.errors import UserError, nearest
from steve1.core.paths import resolve

Version = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Package:
    """A package that runs Minecraft.

    Attributes:
        name: as `--env` takes it.
        title: for people.
        pip_name: its name for pip; distribution names are compared without regard to case, "-" and "_".
        versions: lowest version that fits, and the first that does not.
        pythons: first and last (major, minor) of Python that it runs on; the last is what was published as working.
        java: the major version of Java it needs; 0: it brings its own.
        wrong: what to say when another version is installed.
    """

    name: str
    title: str
    pip_name: str
    versions: tuple[Version, Version]
    pythons: tuple[tuple[int, int], tuple[int, int]]
    java: int
    wrong: str = ""


PACKAGES: dict[str, Package] = {
    each.name: each
    for each in (
        Package("mcio", "Modern Minecraft (Fabric) through MCio", "mcio-ctrl", ((1, 5), (2,)), ((3, 12), (3, 14)), 0),
        Package(
            "minerl", "Minecraft 1.16.5 through MineRL 1.0", "minerl", ((1, 0), (2,)), ((3, 8), (3, 10)), 8,
            wrong="MineRL 0.4, the one on PyPI, has other actions and pictures than VPT and STEVE-1 were trained on",
        ),
        Package("minedojo", "Minecraft 1.11.2 through MineDojo", "minedojo", ((0, 1), (1,)), ((3, 9), (3, 10)), 8),
        Package("minestudio", "Minecraft 1.16.5 through MineStudio", "minestudio", ((1, 1), (2,)), ((3, 10), (3, 12)), 8),
    )
}  # fmt: skip


def package(name: str) -> Package:
    """The package of that name.

    Raises:
        UserError: there is none; names the nearest.
    """
    if name not in PACKAGES:
        raise UserError("Unknown Minecraft backend.", got=name, expected=nearest(name, list(PACKAGES)))
    return PACKAGES[name]


def interpreter_path(name: str) -> Path:
    """Where the package's interpreter is or would be; the variable `STEVE1_<NAME>_PYTHON` names another."""
    given = os.environ.get(f"STEVE1_{name.upper()}_PYTHON")
    return Path(given).expanduser() if given else resolve(f"data/backends/{name}/bin/python")


def install_command(name: str) -> str:
    """The command that makes the package's environment."""
    return f"bash tools/install_minecraft.sh {name}"


def installed_version(name: str) -> str:
    """Version of the package in its own environment, read from the folder that pip left; "" if it is not there."""
    wanted = package(name).pip_name.replace("-", "_").lower()
    for folder in [*_installed(name, "*.dist-info"), *_installed(name, "*.egg-info")]:
        distribution, _, version = folder.stem.partition("-")
        if distribution.replace("-", "_").lower() == wanted:
            return version.partition("-py")[0]
    return ""


def package_folder(name: str) -> Path | None:
    """The package's folder in its environment (to read data files that it ships), if it is there."""
    return next(filter(Path.is_dir, _installed(name, package(name).pip_name.replace("-", "_"))), None)


def _installed(name: str, pattern: str) -> list[Path]:
    return sorted((interpreter_path(name).parent.parent / "lib").glob(f"python3*/site-packages/{pattern}"))


def version_problem(name: str, version: str) -> str:
    """Why this version of the package does not fit; "" if it does."""
    known = package(name)
    low, high = known.versions
    match = re.match(r"\d+(?:\.\d+)*", version)  # "1.5.2rc1" is (1, 5, 2)
    if match and low <= tuple(map(int, match[0].split("."))) < high:
        return ""
    return known.wrong or f"{known.pip_name} {version} is untested here"


def find_interpreter(name: str) -> Path:
    """The package's own Python, ready to run its worker.

    Raises:
        UserError: the environment, or the package in it, is missing or of the wrong version; says which command makes it.
    """
    known, python, version = package(name), interpreter_path(name), installed_version(name)
    if not os.access(python, os.X_OK):
        what = f"{known.title} is not installed."
    elif not version:
        what = f"The package {known.pip_name} is not in its environment."
    elif problem := version_problem(name, version):
        what = f"The wrong version of {known.pip_name} is installed: {problem}."
    else:
        return python
    expected = f"{known.pip_name} {'.'.join(map(str, known.versions[0]))} or newer"
    raise UserError(what, where=python, got=version, expected=expected, todo=install_command(name))


@dataclasses.dataclass(frozen=True)
class Java:
    """A Java: its program, its major version (8 for "1.8"), and how it was found."""

    path: str
    major: int
    found: str


def java_major(program: str) -> int:
    """Major version that a `java` program prints; 0 if it does not run."""
    try:
        done = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.search(r'version "(\d+)(?:\.(\d+))?', done.stderr + done.stdout)
    if not match:
        return 0
    return int(match[2] or 0) if match[1] == "1" else int(match[1])


def javas(environment: Mapping[str, str] | None = None) -> list[Java]:
    """Every Java that can be found, the one that programs would take first: JAVA_HOME, PATH, the usual folders."""
    environment = os.environ if environment is None else environment
    home, on_path = environment.get("JAVA_HOME"), shutil.which("java", path=environment.get("PATH", ""))
    candidates = [(os.path.join(home, "bin", "java"), "JAVA_HOME")] if home else []
    candidates += [(on_path, "PATH")] if on_path else []
    roots = environment.get("STEVE1_JAVA_FOLDERS", "/usr/lib/jvm:/Library/Java/JavaVirtualMachines:/opt/java")
    for root in filter(None, roots.split(":")):
        for pattern in ("*/bin/java", "*/jre/bin/java", "*/Contents/Home/bin/java"):
            candidates += [(str(path), "installed") for path in sorted(Path(root).glob(pattern))]
    found: dict[str, Java] = {}
    for program, how in candidates:
        real = os.path.realpath(program)
        if real not in found:
            major = java_major(program) if os.access(program, os.X_OK) else 0
            found[real] = Java(program, major, how)
    return [java for java in found.values() if java.major or java.found == "JAVA_HOME"]


def java_for(name: str, environment: Mapping[str, str] | None = None) -> Java | None:
    """The Java that a package's worker is to use; None where it brings its own.

    Raises:
        UserError: none is installed, or none of the version that the package needs.
    """
    known = package(name)
    if not known.java:
        return None
    everything = javas(environment)
    for java in everything:
        if java.major == known.java:
            return java
    todo = f"{java_package(known.java)}; then say where it is: export JAVA_HOME=/usr/lib/jvm/…"
    if not [java for java in everything if java.major]:
        raise UserError(f"{known.title} needs Java {known.java}, and there is no Java here.", todo=todo)
    got = ", ".join(f"{java.major or 'does not run'} ({java.path}, {java.found})" for java in everything)
    expected = f"a JDK of version {known.java}"
    raise UserError(f"{known.title} needs Java {known.java}.", got=got, expected=expected, todo=todo)


def java_home(name: str) -> str:
    """Folder of the Java for a package's worker ("" where it brings its own), as JAVA_HOME wants it; errors as in `java_for`."""
    java = java_for(name)
    return str(Path(os.path.realpath(java.path)).parents[1]) if java else ""


def java_package(major: int) -> str:
    """The command that installs a Java (a JDK: MineRL and MineDojo compile their mod)."""
    if os.uname().sysname == "Darwin":
        return f"brew install --cask zulu@{major}"
    # Debian dropped Java 8; the same archive works on Debian and Ubuntu.
    otherwise = f"(where there is none: Temurin {major}, docs/guides/INSTALL_MINECRAFT.md)"
    return f"apt-get install openjdk-{major}-jdk {otherwise}"
