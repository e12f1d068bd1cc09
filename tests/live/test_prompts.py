"""Chains of prompts and planners: when the prompt changes, and what is refused."""

from __future__ import annotations

import shlex
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steve1.core.errors import UserError
from steve1.live.prompts import (
    EVENT_EVERY,
    PlannerProcess,
    ProcessPlanner,
    PromptedActor,
    PromptSource,
    open_planner,
    open_source,
    read_chain,
)
from steve1.rollout.play import play
from tests.live.worlds import Agent as FakeAgent
from tests.live.worlds import Encoder, suite
from tests.rollout.fakes import FakeEnv


def history(source: PromptSource, steps: int) -> list[tuple[int, str]]:
    """What is asked for in an episode of the fake world."""
    encoder = Encoder()
    actor = PromptedActor(FakeAgent(), source, lambda prompt: encoder.encode([prompt])[prompt])  # type: ignore[arg-type]
    play(actor, FakeEnv(), steps)
    source.close()
    return actor.history


def test_a_prompt_ends_after_its_steps() -> None:
    chain = read_chain("dig dirt=30; explore = 20；build a pillar", suite())
    assert history(chain, 100) == [(0, "dig dirt"), (30, "explore"), (50, "build a pillar")]
    assert history(chain, 40) == [(0, "dig dirt"), (30, "explore")]  # another episode begins at its beginning


def test_a_prompt_ends_when_its_condition_holds(tmp_path: Path) -> None:
    """One dirt takes five steps of attack; conditions are looked at every ten."""
    file = tmp_path / "chain.yaml"
    file.write_text(
        "prompts:\n"
        "  - {prompt: explore, steps: 20}\n"
        "  - {prompt: dig dirt, until: {kind: item_gained, names: [dirt], at_least: 3}, steps: 600}\n"
        "  - {task: look_at_sky, steps: 10}\n"
        "  - {prompt: 挖泥土}\n"
    )
    assert history(read_chain(str(file), suite()), 120) == [
        (0, "explore"), (20, "dig dirt"), (40, "look at the sky"), (50, "挖泥土"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("prompts: []", "no prompts"),
        ("prompt: []", "needs the key prompts"),
        ("- a", "wrong form"),
        ("prompts: [{prompt: a}, {prompt: b}]", "never ends"),
        ("prompts: [{prompt: '', steps: 3}]", "has no prompt"),
        ("prompts: [{prompt: a, steps: -1}, {prompt: b}]", "steps must be"),
        ("prompts: [{prompt: a, steps: 0}, {prompt: b}]", "steps must be"),
        ("prompts: [{prompt: a, steps: 0, until: {kind: died}}, {prompt: b}]", "steps must be"),
        ("prompts: [{prompt: a, until: {kind: x}}, {prompt: b}]", "no rule of kind"),
        ("prompts: [{prompt: a, for: 3}]", "not a prompt of a chain"),
        ("prompts: [{task: nothing_like_it}]", "There is no task"),
    ],
)
def test_a_chain_that_is_none_is_refused(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "chain.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=says):
        read_chain(str(file), suite())


def test_a_file_of_another_ending_is_not_taken_for_a_prompt(tmp_path: Path) -> None:
    (tmp_path / "chain.txt").write_text("prompts: [{prompt: a}]")
    with pytest.raises(UserError, match="ends in"):
        read_chain(str(tmp_path / "chain.txt"), suite())
    (tmp_path / "chain.YAML").write_text("prompts: [{prompt: a}]")
    assert read_chain(str(tmp_path / "chain.YAML"), suite()).links[0].prompt == "a"
    assert len(read_chain("; ".join(f"walk {n}=20" for n in range(500)), suite()).links) == 500


@pytest.mark.parametrize("text", ["", " ; ", "a=x;b", "a=0;b", "a;b"])
def test_a_typed_chain_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        read_chain(text, suite())


def test_a_function_plans(tmp_path: Path) -> None:
    (tmp_path / "plan.py").write_text(
        "events = []\n"
        "def plan(event):\n"
        "    events.append(event)\n"
        "    return 'explore' if event['inventory'].get('dirt', 0) >= 2 else None\n"
    )
    planner = open_planner(f"{tmp_path}/plan.py:plan", "dig dirt")
    assert history(planner, 100) == [(0, "dig dirt"), (EVENT_EVERY, "explore")]
    events = planner._plan.__globals__["events"]  # type: ignore[attr-defined]
    assert [event["tick"] for event in events] == list(range(0, 100, EVENT_EVERY))
    assert events[1]["prompt_steps"] == EVENT_EVERY
    assert set(events[0]) >= {"prompt", "position", "view", "dug", "health", "menu"}


def test_a_program_plans(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plan.py").write_text(
        "import json, sys\n"
        "for line in sys.stdin:\n"
        "    event = json.loads(line)\n"
        "    print('thinking', flush=True)\n"
        "    if event['tick'] >= 20: print(json.dumps({'prompt': 'explore'}), flush=True)\n"
        "    if event['tick'] >= 60: break\n"
    )
    planner = open_planner(f"{shlex.quote(sys.executable)} {tmp_path}/plan.py", "dig dirt")
    env = FakeEnv()
    now = env.reset()
    assert planner.reset(*now) == "dig dirt"
    found: list[Any] = []
    with pytest.raises(UserError, match="planner has ended"):
        until = time.monotonic() + 120
        while time.monotonic() < until:
            found.append(planner.step({"camera": np.zeros(2)}, *now))
            time.sleep(0.001)
    assert [prompt for prompt in found if prompt] == ["explore"]
    planner.close()
    assert "is not a prompt: thinking" in capsys.readouterr().out


def test_a_planner_may_lie_in_a_folder_with_blanks_and_write_any_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "my plans"
    folder.mkdir()
    (folder / "plan.py").write_text("def plan(event):\n    return 'explore'\n")
    assert open_planner(f"{folder}/plan.py:plan", "dig dirt").reset(*FakeEnv().reset()) == "explore"

    (folder / "program.py").write_text(
        "import sys\n"
        "sys.stdout.buffer.write(b'\\xff\\n' + b'[' * 100_000 + b'\\n' + '{\"prompt\": \"挖泥土\"}\\n'.encode())\n"
        "sys.stdout.flush()\n"
        "sys.stdin.read()\n"
    )
    planner = open_planner(shlex.join([sys.executable, f"{folder}/program.py"]), "dig dirt")
    now = FakeEnv().reset()
    asked, until = planner.reset(*now), time.monotonic() + 120
    while asked != "挖泥土":
        asked = planner.step({"camera": np.zeros(2)}, *now) or asked
        assert time.monotonic() < until
    planner.close()
    assert "is not a prompt" in capsys.readouterr().out


def test_a_planner_ends_with_what_asked_it(tmp_path: Path) -> None:
    """Also one that ignores the end of its input, and where what asks it fails."""
    (tmp_path / "plan.py").write_text("import time\nwhile True: time.sleep(1)\n")
    with (
        pytest.raises(KeyError),
        open_source("", f"{shlex.quote(sys.executable)} {tmp_path}/plan.py", "dig dirt", suite()) as source,
    ):
        assert isinstance(source, ProcessPlanner)
        process = source._process._process
        assert process.poll() is None
        raise KeyError
    assert process.poll() is not None


def test_a_program_that_reads_nothing_holds_nobody_up(tmp_path: Path) -> None:
    """Of the events that no longer fit into its pipe it gets the newest, once it reads."""
    (tmp_path / "plan.py").write_text(
        "import json, pathlib, sys, time\n"
        f"while not pathlib.Path({str(tmp_path / 'go')!r}).exists(): time.sleep(0.01)\n"
        "for line in sys.stdin: print(json.dumps({'prompt': str(json.loads(line)['tick'])}), flush=True)\n"
    )
    process = PlannerProcess(f"{shlex.quote(sys.executable)} {tmp_path}/plan.py")
    found: list[str | None] = []

    def tell(ticks: range) -> None:
        found.extend(process({"tick": tick, "more": "x" * 1000}) for tick in ticks)

    teller = threading.Thread(target=tell, args=(range(1000),), daemon=True)  # a megabyte
    teller.start()
    teller.join(120)
    try:
        assert not teller.is_alive()
        assert set(found) == {None}
        (tmp_path / "go").touch()
        until = time.monotonic() + 120
        while process._newest is not None or "999" not in found:
            found += [process._prompts.get(timeout=120)]
            assert time.monotonic() < until
        assert len(found) < 1500  # 1,000 answers of ours, and as many events as fit into a pipe
    finally:
        process.close()


def test_a_program_that_reads_nothing_any_more_may_still_plan(tmp_path: Path) -> None:
    (tmp_path / "plan.py").write_text(
        'import sys, time\nsys.stdin.close()\nprint(\'{"prompt": "explore"}\', flush=True)\ntime.sleep(600)\n'
    )
    planner = open_planner(f"{shlex.quote(sys.executable)} {tmp_path}/plan.py", "dig dirt")
    now = FakeEnv().reset()
    asked = planner.reset(*now)
    until = time.monotonic() + 120
    while asked != "explore":
        asked = planner.step({"camera": np.zeros(2)}, *now) or asked
        assert time.monotonic() < until
    for _ in range(10 * EVENT_EVERY):
        assert planner.step({"camera": np.zeros(2)}, *now) is None
    planner.close()


def test_a_program_s_late_answer_is_no_prompt_of_the_next_episode(tmp_path: Path) -> None:
    (tmp_path / "plan.py").write_text('import sys\nprint(\'{"prompt": "swim"}\', flush=True)\nsys.stdin.read()\n')
    planner = open_planner(f"{shlex.quote(sys.executable)} {tmp_path}/plan.py", "dig dirt")
    now, came = FakeEnv().reset(), planner._process._prompts  # type: ignore[attr-defined]
    try:
        until = time.monotonic() + 120
        while came.empty():
            assert time.monotonic() < until
            time.sleep(0.01)
        assert planner.reset(*now) == "swim", "it came before the first event"
        came.put("explore")  # the answer to the last event
        assert planner.reset(*now) == "dig dirt"
    finally:
        planner.close()


def test_a_planner_s_file_may_have_dataclasses(tmp_path: Path) -> None:
    (tmp_path / "plan.py").write_text(
        "from __future__ import annotations\nimport dataclasses\n\n@dataclasses.dataclass\nclass Step:\n    prompt: str\n\n"
        "def plan(event):\n    return Step('explore').prompt\n"
    )
    assert history(open_planner(f"{tmp_path}/plan.py:plan", "dig dirt"), 40)[0] == (0, "explore")


def test_half_a_letter_is_no_prompt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An answer of a language model that was cut off in an emoji: no file and no page could hold it."""
    (tmp_path / "plan.py").write_text("def plan(event):\n    return 'explore \\ud83d'\n")
    with pytest.raises(UserError, match="must return a prompt"):
        open_planner(f"{tmp_path}/plan.py:plan", "dig dirt").reset(*FakeEnv().reset())
    (tmp_path / "program.py").write_text(
        'import sys\nprint(\'{"prompt": "explore \\\\ud83d"}\', flush=True)\nprint(\'{"prompt": "swim"}\', flush=True)\nsys.stdin.read()\n'
    )
    planner = open_planner(f"{shlex.quote(sys.executable)} {tmp_path}/program.py", "dig dirt")
    now = FakeEnv().reset()
    asked, until = planner.reset(*now), time.monotonic() + 120
    while asked != "swim":
        asked = planner.step({"camera": np.zeros(2)}, *now) or asked
        assert time.monotonic() < until
        assert asked in ("dig dirt", "swim")
    planner.close()
    assert "not a prompt" in capsys.readouterr().out


def test_one_source_of_prompts_at_most() -> None:
    with open_source("", "", "dig dirt", suite()) as source:
        assert source is None
    with open_source("dig dirt=3;explore", "", "", suite()) as source:
        assert source is not None
    with pytest.raises(UserError, match="both decide"), open_source("dig dirt", "json:dumps", "", suite()):
        pass


@pytest.mark.parametrize(
    "source", ["no/such/file.py:plan", "no_such_module:plan", "json:no_such_function", "no-such-program --now"]
)
def test_a_planner_that_is_not_there(source: str) -> None:
    with pytest.raises(UserError, match="planner"):
        open_planner(source, "dig dirt")


@pytest.mark.parametrize(
    ("code", "line", "says"),
    [
        ("def plan(event):\n    return event['no such key']\n", 2, "KeyError: 'no such key'"),
        ("import sys\ndef plan(event):\n    sys.exit('enough')\n", 3, "SystemExit: enough"),
        ("import json\ndef plan(event):\n    return json.loads('{')\n", 3, "JSONDecodeError"),
    ],
)
def test_a_planner_that_fails_is_told_with_its_line(tmp_path: Path, code: str, line: int, says: str) -> None:
    (tmp_path / "plan.py").write_text(code)
    planner = open_planner(f"{tmp_path}/plan.py:plan", "dig dirt")
    with pytest.raises(UserError, match="The planner failed") as found:
        planner.reset(*FakeEnv().reset())
    assert found.value.where == f"{tmp_path}/plan.py, line {line}"
    assert says in found.value.got


@pytest.mark.parametrize(
    ("code", "line", "says"),
    [
        ("\n1 / 0\n", 2, "ZeroDivisionError"), ("import no_such_module\n", 1, "No module named"), ("def plan(:\n", 1, "SyntaxError"),
        ("import sys\nsys.exit(3)\n", 2, "SystemExit"),
    ],
)  # fmt: skip
def test_a_planner_whose_file_fails_is_told_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, line: int, says: str
) -> None:
    (tmp_path / "own_plan_of_this_test.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    own = [finder for finder in sys.meta_path if "pytest" not in type(finder).__module__]
    monkeypatch.setattr(sys, "meta_path", own)  # pytest's loader would stand between
    for source in (f"{tmp_path}/own_plan_of_this_test.py:plan", "own_plan_of_this_test:plan"):
        with pytest.raises(UserError, match="does not load") as found:
            open_planner(source, "dig dirt")
        assert found.value.where == f"{tmp_path}/own_plan_of_this_test.py, line {line}"
        assert says in found.value.got


def test_a_planner_has_to_answer_with_words() -> None:
    planner = open_planner("json:dumps", "dig dirt")
    planner._plan = lambda event: 3  # type: ignore[assignment,return-value]
    with pytest.raises(UserError, match="must return a prompt or None"):
        planner.reset(*FakeEnv().reset())
