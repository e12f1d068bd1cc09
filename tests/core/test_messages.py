"""Messages in two languages: which is chosen, and that none lacks one."""

from __future__ import annotations

import os
import shlex
import string
import subprocess
import sys
from pathlib import Path

import pytest

from steve1.core.errors import UserError
from steve1.core.messages import LANGUAGES, MESSAGES, language, message, plural, say_next
from steve1.core.paths import ROOT

VARIABLES = ("STEVE1_LANG", "LC_ALL", "LC_MESSAGES", "LANG")


def placeholders(text: str) -> list[str]:
    return sorted({name for _, name, _, _ in string.Formatter().parse(text) if name is not None})


@pytest.mark.parametrize("key", MESSAGES)
def test_a_message_has_both_languages_and_the_same_placeholders(key: str) -> None:
    texts = MESSAGES[key]
    assert tuple(texts) == LANGUAGES
    assert all(text.strip() for text in texts.values())
    assert placeholders(texts["en"]) == placeholders(texts["zh"])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "en"),
        ({"LANG": "C.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_TW"}, "zh"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LANG": "en_US.UTF-8", "LC_MESSAGES": "zh_CN.UTF-8"}, "zh"),
        ({"LC_MESSAGES": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": ""}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "STEVE1_LANG": "en"}, "en"),
        ({"LANG": "en_US.UTF-8", "STEVE1_LANG": "zh"}, "zh"),
        ({"LC_ALL": "C", "STEVE1_LANG": "ZH_cn"}, "zh"),
    ],
)
def test_the_language_is_what_the_user_says_or_the_locale(
    given: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert language() == expected


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 steps of 0 frames"), (1, "1 step of 1 frame"), (12_000, "12,000 steps of 12,000 frames")]
)
def test_one_is_one_and_two_are_more(count: int, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEVE1_LANG", "en")
    assert message("training steps", steps=count, frames=count, factors="x") == f"{said} = x"
    assert message("training skipped", count=1, spikes=0).startswith("1 step was skipped")
    assert message("training skipped", count=2, spikes=0).startswith("2 steps were skipped")
    assert plural(1, "process", "processes") == "1 process"


# What the users' guide shows of training, byte for byte.
GUIDE = {
    "开始微调...": ("training started", {}),
    "训练完成!": ("training finished", {}),
    "最终模型: steve1_buildhouse.weights": ("final weights", {"name": "steve1_buildhouse.weights"}),
    "最佳模型: steve1_buildhouse_best.weights": ("best weights", {"name": "steve1_buildhouse_best.weights"}),
}


@pytest.mark.parametrize("chosen", LANGUAGES)
@pytest.mark.parametrize("line", GUIDE)
def test_lines_of_the_guide_appear_in_every_language(line: str, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEVE1_LANG", chosen)
    key, values = GUIDE[line]
    assert message(key, **values) == line


def test_labels_of_an_error_stand_in_one_column(monkeypatch: pytest.MonkeyPatch) -> None:
    fault = UserError("w", where="a", expected="b", got="c", todo="d")
    assert str(fault).splitlines()[1:] == ["  where:    a", "  expected: b", "  got:      c", "  next:     d"]
    monkeypatch.setenv("STEVE1_LANG", "zh")
    assert str(fault).splitlines()[1:] == ["  位置:     a", "  应为:     b", "  实际:     c", "  下一步:   d"]
    assert fault.one_line == "w；位置：a；应为：b；实际：c；下一步：d"


def test_scripts_print_messages_without_any_package() -> None:
    """As quickstart.sh does in a fresh clone: -S, no site-packages."""
    script = str(ROOT / "steve1/core/messages.py")
    environment = {**os.environ, "STEVE1_LANG": "zh"}
    done = subprocess.run(
        [sys.executable, "-S", script, "final weights", "name=a=b"], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "最终模型: a=b\n", "")


def test_another_language_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "steve1", "plan"],
        cwd=ROOT,
        env={**os.environ, "STEVE1_LANG": "fr"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "STEVE1_LANG names an unknown language.\n  expected: en or zh\n  got:      fr" in done.stderr


@pytest.mark.parametrize(
    ("command", "script"),
    [
        ("A='x y' bash 2_create_sampling.sh x --by_time", "2_create_sampling.sh"),
        ("python tools/convert_recordings.py --input_dir a", "tools/convert_recordings.py"),
        ("python run_agent/run_agent.py --goal_file x.sh", "run_agent/run_agent.py"),
    ],
)
def test_what_to_run_next_can_be_pasted_where_it_was_printed(
    command: str, script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STEVE1_LANG", "en")
    monkeypatch.delenv("STEVE1_GOES_ON", raising=False)
    monkeypatch.delenv("STEVE1_FROM", raising=False)
    monkeypatch.chdir(ROOT)
    say_next(command)
    assert capsys.readouterr().out == f"next: {command}\n"
    elsewhere = command.replace(script, shlex.quote(str(ROOT / script)), 1)
    monkeypatch.setenv("STEVE1_FROM", str(tmp_path))  # typed there: a script has gone to the checkout
    say_next(command)
    monkeypatch.delenv("STEVE1_FROM")
    monkeypatch.chdir(tmp_path)
    say_next(command)
    say_next("python -m steve1 pull user/x")
    say_next("the same command with --repair OUT_DIR")
    assert capsys.readouterr().out == f"next: {elsewhere}\n" * 2 + (
        "next: python -m steve1 pull user/x\nnext: the same command with --repair OUT_DIR\n"
    )
