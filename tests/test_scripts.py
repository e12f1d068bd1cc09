"""Every script and Python entry as users start them: from other folders, in other shells, before anything is installed."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from steve1.core.paths import ROOT
from steve1.core.processes import gone

SOURCED = ("tools/python.sh", "tools/presets.sh")
SCRIPTS = sorted(
    str(path.relative_to(ROOT))
    for folder in (".", "tools", "run_agent")
    for path in (ROOT / folder).glob("*.sh")
    if str(path.relative_to(ROOT)) not in SOURCED
)
HEADER = """set -eu
export STEVE1_FROM="${STEVE1_FROM:-$PWD}"   # files that are named are looked for here too
SELF="$(readlink -f "$0" 2>/dev/null || echo "$0")"
cd "$(dirname "$SELF")" && until [ -f tools/python.sh ] || [ "$PWD" = / ]; do cd ..; done
[ -f tools/python.sh ] || { echo "error: $SELF lies outside the project. next: copy it into the project's folder, or one below it" >&2; exit 2; }
. tools/python.sh
"""
# These do their work in bash, or install first.
NO_COMMAND = ("tools/install_minecraft.sh", "tools/install_peer.sh", "tools/setup.sh", "run_tests.sh", "quickstart.sh")

# With -S there are no packages, as in a fresh clone.
ENTRIES = [
    ["tools/convert_recordings.py"],
    ["run_agent/run_agent.py"],
    ["evaluate_on_minedojo.py"],
    ["-m", "steve1", "train"],
    ["steve1/training/train.py"],
    ["-m", "research.paper_videos"],
    ["-m", "benchmarks", "policy"],
    *[
        [f"tools/{path.name}"]
        for path in sorted((ROOT / "tools").glob("*.py"))
        if path.name not in ("doctor.py", "fuzz.py")
    ],
]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project without .venv and data."""
    folder = tmp_path_factory.mktemp("a project")
    for name in ("steve1", "tools", "run_agent", "research", "benchmarks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in [*ROOT.glob("*.sh"), *ROOT.glob("*.py"), ROOT / "pyproject.toml"]:
        shutil.copy(path, folder)
    return folder


@pytest.mark.parametrize("entry", ENTRIES, ids=" ".join)
def test_a_fresh_clone_says_what_to_install(clone: Path, entry: list[str]) -> None:
    done = subprocess.run([sys.executable, "-S", *entry], cwd=clone, capture_output=True, text=True)
    expected = "error: The project's packages are not installed.\n  next:     bash tools/setup.sh\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", expected)


@pytest.mark.parametrize("entry", [["run_agent/run_agent.py"], ["-m", "steve1", "play"]], ids=" ".join)
def test_a_python_without_packages_hands_over_to_the_projects_own(clone: Path, entry: list[str]) -> None:
    own = clone / ".venv" / "bin" / "python"
    own.parent.mkdir(parents=True)
    own.write_text('#!/bin/sh\n[ "$1" = -c ] || echo "handed over: $*"\n')
    own.chmod(0o755)
    done = subprocess.run([sys.executable, "-S", *entry, "--seed", "1"], cwd=clone, capture_output=True, text=True)
    shutil.rmtree(clone / ".venv")
    assert done.stdout == f"handed over: {' '.join(entry)} --seed 1\n", done.stderr


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """A Python that only says where and how it was called."""
    path = tmp_path / "python"
    path.write_text('#!/bin/sh\ncase "$1" in */messages.py) ;; *) echo "$PWD: $*" ;; esac\n')
    path.chmod(0o755)
    return path


def start(
    script: Path, folder: Path, *words: str, shell: str = "bash", **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **variables}
    return subprocess.run([shell, str(script), *words], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_begins_as_all_do(script: str) -> None:
    text = (ROOT / script).read_text()
    assert HEADER in text
    assert text.startswith("#!/usr/bin/env bash\n# ")
    before = text[: text.index(HEADER)].replace(
        'GIVEN="${PYTHON:-}"   # a Python named by the user is used or rejected, never replaced\n', ""
    )
    assert all(line.startswith("#") for line in before.splitlines())


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_explains_itself_through_a_link_from_another_folder(script: str, tmp_path: Path, fake: Path) -> None:
    link = tmp_path / "a link.sh"
    link.symlink_to(ROOT / script)
    done = start(link, tmp_path, "--help", PYTHON=str(fake))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith((ROOT / script).read_text().splitlines()[1].removeprefix("# "))
    assert f"bash {script}" in done.stdout
    command = script not in NO_COMMAND and not script.startswith(("tools/make", "tools/measure"))
    assert (f"{ROOT}: -m " in done.stdout) == command


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("shell", ["sh", "zsh", "dash"])
def test_another_shell_is_told_in_one_sentence(script: str, shell: str, tmp_path: Path) -> None:
    if not shutil.which(shell) or "bash" in os.path.realpath(shutil.which(shell) or ""):
        pytest.skip(f"{shell} is bash here or missing")
    done = start(ROOT / script, tmp_path, shell=shell)
    expected = f"error: this script needs bash. next: bash {ROOT / script}\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", expected)


@pytest.mark.parametrize("script", [name for name in SCRIPTS if name not in NO_COMMAND and "tools/" not in name])
def test_a_copy_in_a_folder_below_works_as_the_script_does(
    script: str, clone: Path, tmp_path: Path, fake: Path
) -> None:
    folder = clone / "my scripts" / "today"
    folder.mkdir(parents=True, exist_ok=True)
    copy = Path(shutil.copy(ROOT / script, folder / "3_train_copy.sh"))
    done = start(copy, tmp_path, PYTHON=str(fake))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{clone}: -m ")


@pytest.mark.parametrize("script", [name for name in SCRIPTS if name not in NO_COMMAND])
def test_a_script_in_a_fresh_clone_says_what_to_install(script: str, clone: Path, tmp_path: Path) -> None:
    python = tmp_path / "python3"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -S "$@"\n')
    python.chmod(0o755)
    done = start(clone / script, clone, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode == 2, done.stdout
    assert "error: The project's packages are not installed.\n  next:     bash tools/setup.sh\n" in done.stderr
    assert "Traceback" not in done.stderr


def test_line_ends_stay_where_git_changes_them(tmp_path: Path) -> None:
    """As Git for Windows does below WSL, where bash then refuses every script."""
    shutil.copy(ROOT / ".gitattributes", tmp_path)
    (tmp_path / "a.sh").write_bytes(b"set -eu\n")
    (tmp_path / "a.weights").write_bytes(b"1\r\n2\n")

    def git(*words: str) -> None:
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}
        identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "core.autocrlf=true")
        subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True, env=environment)

    git("init")
    git("add", ".")
    git("commit", "-m", "x")
    for name in ("a.sh", "a.weights"):
        (tmp_path / name).unlink()
    git("checkout", ".")
    assert (tmp_path / "a.sh").read_bytes() == b"set -eu\n"
    assert (tmp_path / "a.weights").read_bytes() == b"1\r\n2\n"
    assert [script for script in SCRIPTS if b"\r" in (ROOT / script).read_bytes()] == []


def test_defaults_of_recording_fit_those_of_training() -> None:
    """A window of T frames, and the 15 that have no goal."""
    found = [
        re.search(rf'^{name}="\$\{{{name}:-(\d+)\}}"', (ROOT / script).read_text(), re.MULTILINE)
        for script, name in (("1_generate_dataset.sh", "STEPS"), ("3_train_finetune_template.sh", "T"))
    ]
    steps, window = (int(match[1]) for match in found if match)
    assert steps >= window + 15


def test_a_python_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = start(ROOT / "5_evaluate.sh", tmp_path, PYTHON="/nowhere/python")
    assert (done.returncode, done.stderr) == (
        2,
        "error: /nowhere/python cannot be run.\n  next:     bash tools/setup.sh\n",
    )


@pytest.mark.parametrize(
    ("script", "variable", "value"),
    [
        ("3_train_finetune_template.sh", "PROCESSES", "abc"),
        ("3_train_finetune_lora.sh", "PROCESSES", "2.5"),
        ("quickstart.sh", "TOTAL_FRAMES", "75k"),
        ("quickstart.sh", "SEED", "-1"),
        ("tools/make_mini.sh", "SEED", "a[$(id)]"),
        ("tools/measure_gpu.sh", "BUDGET", "x"),
    ],
)
def test_a_variable_that_is_no_number_is_refused(script: str, variable: str, value: str) -> None:
    done = start(ROOT / script, ROOT, PYTHON=sys.executable, **{variable: value})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {variable} takes a whole number.\n  got: {value}\n"


@pytest.mark.parametrize("word", ["SKILL=build_pillar", "--seed"])
def test_the_quickstart_takes_no_words(word: str) -> None:
    done = start(ROOT / "quickstart.sh", ROOT, word, PYTHON=sys.executable, SEED="no number")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: quickstart.sh takes no options but --help")
    assert done.stderr.endswith(f"Got: {word}\n")


_EXPECTED = 'while [ $# -gt 0 ]; do [ "$1" != --expected ] || echo "record 1" > "$2"; shift; done\n'  # what check_quickstart writes


def lone_quickstart(folder: Path, steps: str, cases: str = "") -> Path:
    """The quickstart in a folder of its own, whose steps are one line of bash, and whose Python answers `cases` and reads messages alone."""
    numbered = ("1_generate_dataset.sh", "2_create_sampling.sh", "3_train_finetune_template.sh", "5_evaluate.sh")
    for name in ("tools/setup.sh", *numbered):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(steps)
    for name in ("quickstart.sh", "tools/python.sh", "steve1/core/messages.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    own = folder / ".venv" / "bin" / "python"
    own.parent.mkdir(parents=True)
    reads = f'*messages.py*) exec {shlex.quote(sys.executable)} "$@" ;;'
    own.write_text(f'#!/bin/sh\ncase "$*" in {reads} {cases} esac\n{_EXPECTED}')
    own.chmod(0o755)
    return folder / "quickstart.sh"


def test_a_seed_that_the_quickstart_does_not_use_is_said(tmp_path: Path) -> None:
    """A run that was begun with another seed goes on with it."""
    script = lone_quickstart(
        tmp_path, '[ -z "${SOURCE:-}" ] && echo "learned with ${SEED-none}" || echo "recorded with $SEED"\n'
    )
    for seed, used, said in (("3", "3", ""), ("3", "3", ""), ("", "3", ""), ("5", "3", "SEED=5 is not used")):
        done = start(script, tmp_path, **({"SEED": seed} if seed else {}))
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(f"recorded with {used}\n") == 1
        # Sampling, training and evaluation, whether SEED was set or kept.
        assert done.stdout.count("learned with 0\n") == 3
        assert (said in done.stderr) if said else done.stderr == "", done.stderr
    assert "NAME=quickstart_5 SEED=5 bash quickstart.sh" in done.stderr
    assert "SEED=5 不起作用" in start(script, tmp_path, SEED="5", STEVE1_LANG="zh").stderr
    other = start(script, tmp_path, SKILL="light_lamp")
    assert other.returncode == 2
    assert "recorded" not in other.stdout
    assert "NAME=light_lamp SKILL=light_lamp bash quickstart.sh" in other.stderr
    named = start(script, tmp_path, NAME="explore", SKILL="explore")
    assert named.returncode == 0
    assert "swim look_at_sky" in named.stdout


@pytest.mark.parametrize(
    ("script", "variable"), [("5_evaluate.sh", "EPISODES"), ("3_train_finetune_template.sh", "BATCH_SIZE")]
)
def test_a_variable_that_the_command_checks_is_named_too(script: str, variable: str) -> None:
    done = start(ROOT / script, ROOT, "--bogus", PYTHON=sys.executable, **{variable: "abc"})
    assert done.returncode == 2
    assert f"--{variable.lower()} takes a whole number; where: the variable {variable}; got: abc" in done.stderr
    assert "There is no option --bogus" in done.stderr
    assert done.stderr.endswith(f"next:     bash {shlex.quote(str(ROOT / script))} --help\n")


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_help_lists_every_variable(script: str, fake: Path) -> None:
    """Those that may be empty too: WEIGHTS="${WEIGHTS-data/mini/mini.weights}". What scripts pass to each other is no setting."""
    named = re.findall(r'^(?:export )?([A-Z_0-9]+)="\$\{\1:?-[^}]*\}"', (ROOT / script).read_text(), re.MULTILINE)
    said = start(ROOT / script, ROOT, "--help", PYTHON=str(fake)).stdout
    assert [name for name in named if f"\n    {name}=" not in said] == ["STEVE1_FROM"]


@pytest.mark.parametrize("ended", ["a fault", "Ctrl-C"])
def test_checks_that_are_ended_leave_nothing_running(tmp_path: Path, ended: str) -> None:
    """While the types are checked, the tests are collected in the background."""
    for name in ("run_tests.sh", "tools/python.sh"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "tools" / "setup.sh").touch()
    python, collecting, checking = tmp_path / ".venv" / "bin" / "python", tmp_path / "collecting", tmp_path / "checking"
    python.parent.mkdir(parents=True)
    python.write_text(
        f"""#!/bin/sh
case "$*" in
  *--collect-only*) echo $$ > '{collecting}'; exec sleep 100 ;;
  *ruff*) until [ -s '{collecting}' ]; do sleep 0.01; done; touch '{checking}'; {"exit 1" if ended == "a fault" else "exec sleep 100"} ;;
esac
"""
    )
    python.chmod(0o755)
    run = subprocess.Popen(["bash", str(tmp_path / "run_tests.sh")], stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        until = time.monotonic() + 60
        while not checking.exists() and time.monotonic() < until:
            time.sleep(0.01)
        if ended == "Ctrl-C":
            os.killpg(run.pid, signal.SIGINT)  # what a terminal does
        assert run.wait(60) != 0
        while not gone(int(collecting.read_text())) and time.monotonic() < until:
            time.sleep(0.01)
        assert gone(int(collecting.read_text()))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)


def test_a_misspelt_skill_does_not_keep_the_quickstarts_name(tmp_path: Path) -> None:
    """The next run, with the right one or with none, begins."""
    script = lone_quickstart(tmp_path, "", "*dig_drit*) exit 2 ;;")
    assert start(script, tmp_path, SKILL="dig_drit").returncode == 2
    assert start(script, tmp_path, CHECK_SKILLS="explore dig_drit").returncode == 2, "before anything is recorded"
    done = start(script, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "data/recordings/quickstart.skill").read_text() == "dig_dirt\n"


@pytest.mark.parametrize(
    "words", [["--output_dir", "my games"], ["--output-dir=my games"], ["--output_dir=x", "--output_dir", "my games"]]
)
def test_mixed_agents_embeds_the_folder_that_it_played(words: list[str], fake: Path) -> None:
    done = start(ROOT / "1_generate_mixed_agents.sh", ROOT, *words, "--n_episodes", "2", PYTHON=str(fake))
    assert done.stdout.splitlines()[-1] == f"{ROOT}: tools/generate_mineclip_embeds.py --dataset_dir my games"


def test_mixed_agents_embeds_nothing_for_its_help(fake: Path) -> None:
    done = start(ROOT / "1_generate_mixed_agents.sh", ROOT, "--n_episodes", "2", "--help", PYTHON=str(fake))
    assert "generate_mineclip_embeds.py --dataset_dir" not in done.stdout
    assert done.stdout.endswith("-m steve1 gen_mixed_agents --help\n")


@pytest.mark.parametrize(
    ("script", "words", "variables", "english", "chinese"),
    [
        ("3_train_finetune_template.sh", [], {"PRESET": "9gb"}, "error: PRESET=9gb is not known: 24gb", "错误：未知的 PRESET=9gb"),
        ("3_train_finetune_lora.sh", [], {"TRAIN_PARTS": "lora"}, "error: the variable TRAIN_PARTS is called FINETUNE_MODE", "错误：变量 TRAIN_PARTS 现在叫"),
        ("tools/install_peer.sh", [], {}, "error: which program?", "错误：要装哪个程序？"),
        ("tools/make_mini.sh", ["nope"], {}, "error: unknown stage: nope", "错误：未知的阶段：nope"),
        ("tools/measure_gpu.sh", ["nope"], {}, "error: unknown argument: nope", "错误：未知的参数：nope"),
    ],
)  # fmt: skip
def test_what_bash_refuses_is_said_in_the_users_language(
    script: str, words: list[str], variables: dict[str, str], english: str, chinese: str, clone: Path
) -> None:
    for language, said in (("en", english), ("zh", chinese)):
        done = start(clone / script, clone, *words, PYTHON=sys.executable, STEVE1_LANG=language, **variables)
        assert done.returncode == 2
        assert done.stderr.startswith(said)
        assert not (language == "zh" and re.search("[a-z]{3,} [a-z]{3,} [a-z]{3,} is", done.stderr))


@pytest.mark.parametrize("script", ["3_train_finetune_template.sh", "2_create_sampling.sh"])
def test_a_copy_outside_the_project_is_told_where_it_belongs(script: str, tmp_path: Path) -> None:
    copy = Path(shutil.copy(ROOT / script, tmp_path / "3_train_mine.sh"))
    done = start(copy, ROOT)
    expected = f"error: {copy} lies outside the project. next: copy it into the project's folder, or one below it\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", expected)
