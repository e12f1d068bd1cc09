"""Every command and every script in folders of any name, on any terminal, and where it may not write.

A command runs in this process, on the mini weights and a game that is not one. It has to work, or to end with one message and exit code 2.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import importlib
import importlib.util
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from steve1.__main__ import COMMANDS
from steve1.commands.cli import leave, run
from steve1.commands.train import train as train_command
from steve1.core.errors import UserError
from steve1.core.files import check_writable
from steve1.core.paths import ROOT, display, output_path, resolve
from steve1.data.recordings.convert import ConvertSettings
from steve1.data.recordings.convert_folder import convert_folder
from steve1.envs.luanti import links
from steve1.envs.luanti.game_process import GameProcess
from steve1.idm import InverseDynamicsModel
from steve1.idm.config import write_idm_model
from steve1.policy.weights import save_weights
from steve1.prior.pairs import Pairs, save_pairs
from steve1.training.config import TrainSettings
from tests.data.makers import make_recording, tick
from tests.data.videos.films import film, turns
from tests.evaluation.worlds import SUITE
from tests.idm.test_training import TINY
from tests.rollout.fakes import FakeEnv
from tests.rollout.test_record import PlainGame
from tests.training.conftest import write_episode

ODD = '我的 项目: it\'s "y" #1 50% & $HOME (x)'
NOT_UTF8 = os.fsdecode("录像 ".encode("gbk"))
MINI = ROOT / "data" / "mini"
GROUPS = {command: group for group, commands in COMMANDS.items() for command in commands}
SCRIPTS = [
    path.relative_to(ROOT)
    for folder in (ROOT, ROOT / "tools", ROOT / "run_agent")
    for path in sorted(folder.glob("*.sh"))
    if path.name not in ("python.sh", "presets.sh")  # sourced
]


@dataclass(frozen=True)
class Case:
    """A command's cheap form: its words, relative to the working folder, and what it leaves there."""

    words: str
    leaves: str = ""
    code: int = 0
    into: str = ""  #: the folder that it writes into, where that is one of its inputs
    writes: bool = True


SOCKETS = importlib.util.find_spec("websockets") is not None
TRAIN = (
    "--in_model m/mini.model --in_weights m/mini.weights --out_weights w/out.weights --sampling_name s --sampling_dir samplings --batch_size 1 "
    "--T 32 --trunc_t 16 --total_frames 32 --warmup_frames 16 --val_windows 1 --num_workers 0 --threads 1 --device cpu --checkpoint_dir runs"
)
FAKE = "--suite suite.yaml --workers 0 --episodes 1 --name e --similarity 0"
CASES = {
    "generate_dataset": Case("--source folder --recordings_dir raw --output_dir out --workers 1 --no_embed", "out/rec 1/frames.jpgs"),
    "record": Case("--output_dir out --behaviours explore --episodes 1 --steps 32 --workers 1 --no_only_successful", "out/explore_000.mp4"),
    "record_minecraft": Case("--name x", code=2, writes=False),  # a person needs a screen
    "gen_mixed_agents": Case("--agents m/mini.weights m/mini.weights --output_dir out --n_episodes 1 --max_timesteps 8 --min_timesteps 4", "out"),
    "trim_recordings": Case("--input_dir raw --times times.csv --output_dir out", "out/c.mp4"),
    "convert": Case("--input_dir raw --output_dir out --workers 1", "out/rec 1/frames.jpgs"),
    "label_videos": Case("--videos_dir films --output_dir out --idm_model idm.model --idm_weights idm.weights --keep_rejected --keep_nulls --device cpu", "out/a_000000/frames.jpgs"),
    "embed": Case("--dataset_dir bare --weights m/mini_mineclip.safetensors --device cpu", "bare/ep/embeds_attn.npy", into="bare"),
    "create_sampling": Case("x --dataset_dir ds --samplings_dir out", "out/x_train.txt"),
    "inspect_dataset": Case("ds --output out/page.html", "out/page.html"),
    "validate_dataset": Case("ds --repair out --with_sound --report out/r.jsonl", "out/r.jsonl"),
    "filter_dataset": Case("converted --travelled 0.5 --recordings raw --output_dir out", "out/rec 1"),
    "export_dataset": Case("ds --output_dir out --to guide", "out/ep0/frames"),
    "train": Case(TRAIN, "w/out.weights"),
    "train_rl": Case('--in_weights m/mini.weights --out_weights w/rl.weights --reward explore --iterations 1 --places 1 --group 6 --steps 32 --workers 0 --keep_prompts "" --checkpoint_dir runs --device cpu', "w/rl.weights"),
    "train_idm": Case("--sampling_name s --sampling_dir samplings --in_model idm.model --out_weights w/idm.weights --total_frames 16 --batch_size 1 --warmup_steps 1 --val_freq 0 --compress 0 --checkpoint_dir runs --device cpu", "w/idm.weights"),
    "dagger_round": Case('x --in_weights m/mini.weights --prompts "dig dirt" --record none', code=2),  # nothing to learn from
    "plan": Case("--gpu_gb 24", writes=False),
    "cache_features": Case("--dataset_dir ds --in_model m/mini.model --in_weights m/mini.weights --cache_dir out --device cpu", "out"),
    "make_replay": Case("--output out/x.replay.safetensors --dataset_dir ds --in_model m/mini.model --in_weights m/mini.weights --cache_dir out --device cpu", "out/x.replay.safetensors"),
    "report_run": Case("run", "run/report.html", into="run"),
    "rollout_checkpoint": Case('m/mini.weights --out out --prompts "dig dirt" --steps 4', "out/rollouts.json"),
    "interpolate_weights": Case("--base m/mini.weights --tuned m/mini.weights --alpha 0.5 --out_dir out --device cpu", "out/interpolation.md"),
    "train_prior": Case("--data pairs.npz --out_weights out/p.safetensors --max_epochs 1 --hidden_dim 8 --latent_dim 4 --device cpu", "out/p.safetensors"),
    "play": Case('--in_weights m/mini.weights --text_prompt "dig dirt" --gameplay_length 4 --save_video 12:30.mp4 --device cpu', "12:30.mp4"),
    "live": Case(
        '--weights m/mini.weights --prompt "dig dirt" --ticks 4 --port 0 --no_open_browser --no_similarity --device cpu',
        "data/live" if SOCKETS else "", code=0 if SOCKETS else 2,
    ),
    "serve": Case("--weights m/mini.weights --token short", code=2, writes=False),  # or it would go on for ever
    "evaluate": Case(f"--weights nothing random --tasks dig_dirt {FAKE}", "data/evaluations/e/report.html"),
    "compare": Case(f'--weights nothing random --prompt "dig dirt" {FAKE.replace("--similarity 0", "")}', "data/comparisons/e/report.html"),
    "evaluate_on_minedojo": Case(f"--weights nothing --task dig_dirt {FAKE.replace('--similarity 0', '')}", "data/evaluations/e/report.html"),
    "check_reward": Case("--reward dig_dirt --weights m/mini.weights --workers 0 --episodes 1 --folder out --no_film --device cpu", "out/report.html"),
    "sweep_guidance": Case(f"--weights m/mini.weights --scales 0 1 --tasks dig_dirt {FAKE.replace('--similarity 0', '')}", "data/guidance_sweeps/e/sweep.json"),
    "doctor": Case("--json", writes=False),
    "gpu_check": Case("--weights m/mini.weights --device cpu --steps 2 --output out.txt", "out.txt"),
    "download_weights": Case("vpt_model --mirror mirror --root out", "out/data/weights/vpt/2x.model"),
    "check_quickstart": Case("", writes=False),
    "build_shim": Case("--check_only", writes=False),
    "convert_weights": Case("--in_model m/mini.model --in_weights m/mini.weights --out_weights out/x.safetensors", "out/x.safetensors"),
    "push": Case("m/mini.weights --to ./out/repo", "out/repo/README.md"),
    "pull": Case("mirror --output_dir out/x", "out/x/2x.model"),
    "new_model": Case("--output out/x.model", "out/x.model"),
}  # fmt: skip


def test_every_command_has_a_cheap_form() -> None:
    assert set(CASES) == set(GROUPS)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands read."""
    root = tmp_path_factory.mktemp("inputs")
    (root / "m").mkdir()
    for file in MINI.iterdir():
        (root / "m" / file.name).symlink_to(file)
    (root / "mirror").mkdir()
    shutil.copyfile(MINI / "mini.model", root / "mirror" / "2x.model")
    ticks = [tick(number, xpos=0.1 * number) for number in range(40)]
    make_recording(root / "raw", "rec 1", ticks)
    (root / "times.csv").write_text("rec 1.mp4,0,1,c\n")
    for number in range(2):
        write_episode(root / "ds" / f"ep{number}", number, 50, 64)
    write_episode(root / "bare" / "ep", 5, 20, 64)
    (root / "bare" / "ep" / "embeds_attn.npy").unlink()
    convert_folder(root / "raw", root / "converted", ConvertSettings())
    (root / "samplings").mkdir()
    for kind, name in (("train", "ep0"), ("val", "ep1")):
        (root / "samplings" / f"s_{kind}.txt").write_text(f"{root}/ds/{name}\n")
    film(root / "films" / "a.mp4", turns(50))
    torch.manual_seed(0)
    write_idm_model(TINY, root / "idm.model")
    save_weights(InverseDynamicsModel(TINY).initialise(), root / "idm.weights")
    (root / "suite.yaml").write_text(SUITE)
    numbers = np.random.default_rng(0).standard_normal((32, 8)).astype(np.float32)
    save_pairs(Pairs(numbers, numbers, np.arange(32) // 4), root / "pairs.npz")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        with pytest.raises(SystemExit):
            run(TrainSettings, train_command.main, argv=shlex.split(TRAIN))
    (root / "runs" / "out").rename(root / "run")
    shutil.rmtree(root / "w")
    return root


@dataclass
class World:
    """A working folder with the inputs, and the games that were opened in it."""

    folder: Path
    games: list[Any] = field(default_factory=list)

    def enter(self, patch: pytest.MonkeyPatch) -> None:
        """Go there, and put a fake in every game's place."""

        def opened(kind: type[Any]) -> Callable[..., Any]:
            def make_env(*args: Any, **more: Any) -> Any:
                self.games.append(kind())
                return contextlib.nullcontext(self.games[-1]) if kind is Checked else self.games[-1]

            return make_env

        class Checked(FakeEnv):
            """Of check_quickstart."""

        places = {
            "envs": FakeEnv, "commands.data.record": PlainGame, "commands.data.gen_mixed_agents": FakeEnv, "commands.data.record_minecraft": FakeEnv,
            "commands.train.rollout_checkpoint": FakeEnv, "commands.tools.check_quickstart": Checked, "evaluation.runner.episodes": FakeEnv,
        }  # fmt: skip
        # All are imported before the first is replaced: they take it from one another.
        modules = {importlib.import_module(f"steve1.{place}"): kind for place, kind in places.items()}
        for module, kind in modules.items():
            patch.setattr(module, "make_env", opened(kind))
        patch.setattr(os, "nice", lambda more: 0)
        patch.delenv("DISPLAY", raising=False)
        patch.chdir(self.folder)

    def call(self, name: str, more: str = "", encoding: str = "ascii") -> tuple[int, str, str]:
        """Run a command, with `more` options; exit code, stdout and stderr of a terminal with this encoding."""
        module = importlib.import_module(f"steve1.commands.{GROUPS[name]}.{name}")
        streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
        with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
            with pytest.raises(SystemExit) as left:
                run(module.Args, module.main, argv=shlex.split(f"{CASES[name].words} {more}"))
            for stream in streams:
                stream.flush()
        said = [stream.buffer.getvalue().decode(encoding) for stream in streams]  # type: ignore[attr-defined]
        return int(left.value.code or 0), said[0], said[1]


@pytest.fixture
def open_world(tmp_path: Path, inputs: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], World]:
    """Copies the inputs into a folder of a given name, goes there, and puts a fake in the game's place."""

    def make(name: str) -> World:
        world = World(tmp_path / name)
        shutil.copytree(inputs, world.folder, symlinks=True)

        world.enter(monkeypatch)
        return world

    return make


def check_worked(name: str, world: World) -> None:
    case = CASES[name]
    code, out, err = world.call(name)
    assert "Traceback" not in out + err, err
    assert code == case.code or name in ("doctor", "build_shim"), out + err
    if case.leaves:
        assert (world.folder / case.leaves).exists(), f"{out}{err}"


@pytest.mark.e2e
@pytest.mark.parametrize("name", CASES)
def test_a_command_works_in_a_folder_of_any_name(name: str, open_world: Callable[[str], World]) -> None:
    """From outside the checkout, with relative paths, in a terminal that shows ASCII alone."""
    check_worked(name, open_world(ODD))


@pytest.mark.parametrize("name", CASES)
def test_a_folder_whose_name_is_not_utf8_is_refused_at_once(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path / NOT_UTF8)
    world.folder.mkdir()
    monkeypatch.chdir(world.folder)
    code, out, err = world.call(name)
    assert (code, out, err.count("error:")) == (2, "", 1)
    assert "is not UTF-8 text" in err
    assert r"\xcf\xf1" in err


@contextlib.contextmanager
def permissions_apply() -> Iterator[None]:
    """Let permissions hold for this thread, though it is root's: without CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, before = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, before) == 0
    less = (ctypes.c_uint32 * 6)(*before)
    less[0] &= ~0b110
    assert libc.capset(header, less) == 0
    try:
        yield
    finally:
        assert libc.capset(header, before) == 0


@pytest.mark.e2e
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.writes])
def test_a_command_that_may_not_write_says_so_at_once(name: str, open_world: Callable[[str], World]) -> None:
    """One message with the path, and before any game is opened."""
    world = open_world("read-only")
    top = world.folder / CASES[name].into
    folders = [top, *(path for path in top.rglob("*") if path.is_dir())]
    for path in folders:
        path.chmod(0o555)
    try:
        with permissions_apply():
            code, out, err = world.call(name)
    finally:
        for path in folders:
            path.chmod(0o755)
    assert "Traceback" not in err
    assert code == 2, out + err
    assert str(world.folder) in err
    assert err.count("error:") == 1
    assert not world.games, "the game was opened first"


FAULTS = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EDQUOT,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.EIO,
)


@pytest.mark.parametrize("number", FAULTS)
@pytest.mark.parametrize("place", ["out/a b.txt", b"out/a b.txt", None, 7])
def test_a_fault_of_the_disk_is_one_message(number: int, place: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def job() -> None:
        raise OSError(number, os.strerror(number), place)

    with pytest.raises(SystemExit) as left:
        leave(job)
    said = capsys.readouterr().err
    assert left.value.code == 2
    assert said.count("error:") == 1
    assert "next:" in said
    assert (f"where:    {Path.cwd() / 'out/a b.txt'}" if isinstance(place, (str, bytes)) else "while writing") in said


def test_a_full_disk_is_told_before_anything_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**more: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", f"{more['dir']}/tmpabc")

    check_writable(tmp_path / "new" / "folder" / "file")
    assert not list(tmp_path.iterdir()), "trying leaves nothing"
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(OSError, match="No space") as fault:
        check_writable(tmp_path / "new" / "folder" / "file")
    assert fault.value.filename == str(tmp_path)


# ---- scripts ----


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The scripts in a checkout of an odd name, with a Python that says where it is and what it was given."""
    root = tmp_path / ODD
    for script in (*SCRIPTS, Path("tools/python.sh"), Path("tools/presets.sh"), Path("steve1/core/messages.py")):
        (root / script).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / script, root / script)
    python = root / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(
        f'#!/bin/sh\ncase "$1" in */messages.py) exec {sys.executable} "$@" ;; esac\nprintf "%s\\n" "$PWD" "$STEVE1_FROM" "$@"\n'
    )
    python.chmod(0o755)
    return root


def bash(script: Path, *words: str, cwd: Path) -> list[str]:
    """The lines that the stand-in for Python printed: its folder, the user's folder, its arguments."""
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    done = subprocess.run(["bash", str(script), *words], cwd=cwd, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.splitlines()


# Those that hand their words to one command.
ONE_COMMAND = [
    script for script in SCRIPTS if re.match(r"[0-5]_|run_agent/", str(script)) and "mixed_agents" not in script.name
]


@pytest.mark.parametrize("script", ONE_COMMAND, ids=str)
def test_a_script_works_from_anywhere_by_any_name(script: Path, project: Path, tmp_path: Path) -> None:
    """From another folder, through a symbolic link, as a copy below the project; each word stays one word."""
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    link = elsewhere / "link to it"
    link.symlink_to(project / script)
    copy = project / "my copies" / "x y.sh"
    copy.parent.mkdir()
    shutil.copy(project / script, copy)
    words = ("--weights", "my weights: 'x'.weights", "")
    for path in (project / script, link, copy):
        lines = bash(path, *words, cwd=elsewhere)
        assert lines[:2] == [str(project), str(elsewhere)]
        assert lines[-3:] == list(words)
    assert bash(script, cwd=project)[:2] == [str(project)] * 2


@pytest.mark.parametrize(
    "script", [s for s in SCRIPTS if "-h|--help)" in (ROOT / s).read_text() and "mixed_agents" not in s.name], ids=str
)
def test_a_script_tells_its_help_from_anywhere(script: Path, project: Path, tmp_path: Path) -> None:
    assert any("usage:" in line for line in bash(project / script, "--help", cwd=tmp_path))


def test_files_of_the_folder_where_a_script_was_typed_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The project's own come first, and what is written goes there; the path is told as a whole."""
    (tmp_path / "my.weights").touch()
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("STEVE1_FROM", str(tmp_path))
    assert resolve("my.weights") == tmp_path / "my.weights"
    assert resolve("data") == ROOT / "data"
    assert output_path("my.weights") == ROOT / "my.weights"
    assert display("data/x") == str(ROOT / "data" / "x")
    monkeypatch.setenv("STEVE1_FROM", str(ROOT))
    assert display("data/x") == "data/x"


# ---- the game ----


def test_the_game_starts_from_a_path_with_blanks_and_colons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loader splits LD_PRELOAD at both."""
    library = tmp_path / ODD / "shim.so"
    library.parent.mkdir()
    library.write_bytes(b"library")
    monkeypatch.setattr(links, "build_shim", lambda: library)
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    process = GameProcess(xvfb="Xvfb", width=8, height=8, timeout_s=1.0)
    process.folder = tmp_path
    preloaded = links.ShimLink(process, 8, 8).environment()["LD_PRELOAD"]
    assert not set(" :") & set(preloaded)
    assert Path(preloaded).read_bytes() == b"library"
    process.folder = library.parent
    with pytest.raises(UserError, match="blank or a colon"):
        library.rename(library.with_name("other.so"))
        links.ShimLink(process, 8, 8)
