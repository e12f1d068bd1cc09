"""Compiles the library that steps Luanti in lock-step, and says what is missing for it."""

from __future__ import annotations

from dataclasses import dataclass

from steve1.core.messages import translated
from steve1.core.paths import display
from steve1.envs.luanti.shim import PACKAGES, build_shim, find_program, game_version


@dataclass(frozen=True)
class Args:
    check_only: bool = False
    """Only check that the game, the X server and the compiler are installed."""


def main(args: Args) -> None:
    program = find_program("luanti", "minetest", package=PACKAGES)
    print(translated(f"game: {program} {'.'.join(map(str, game_version(program)))}"))
    print(translated(f"X server: {find_program('Xvfb', package='xvfb')}"))
    if args.check_only:
        print(translated(f"compiler: {find_program('gcc', 'cc', 'clang', package='gcc libc6-dev libx11-dev')}"))
    else:
        print(translated(f"shim: {display(build_shim())}"))
