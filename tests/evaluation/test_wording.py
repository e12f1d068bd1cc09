"""What compare, evaluate and evaluate_on_minedojo say: one verdict, in both languages, on console, page and in the files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steve1.commands.evaluate import compare as compare_command
from steve1.commands.evaluate import evaluate as evaluate_command
from steve1.commands.evaluate import evaluate_on_minedojo as minedojo_command
from steve1.core.errors import UserError
from steve1.core.messages import MESSAGES
from steve1.evaluation.report.sentences import achievements, first_lines, more_episodes, needs, notes, verdicts
from steve1.evaluation.statistics.summary import leaks, summarise
from steve1.evaluation.tasks.rules import KINDS
from steve1.evaluation.tasks.suite import load_suite
from steve1.rollout.trace import Trace
from tests.evaluation.worlds import injected

# (weights, episodes, what is said): "tuned" always digs and "base" never
P = {3: "0.25", 5: "0.0625", 6: "0.0313"}
SAID = [
    (("base", "tuned"), 3, "looks better, not sure yet (about {} more episodes)"),
    (("base", "tuned"), 5, "looks better, not sure yet (about {} more episodes)"),
    (("base", "tuned"), 6, "better"),
    (("tuned", "base"), 5, "looks worse, not sure yet (about {} more episodes)"),
    (("tuned", "base"), 6, "worse"),
]
CHINESE = {
    "looks better, not sure yet (about {} more episodes)": "看起来更好，还不能确定（大约还要 {} 局）",
    "looks worse, not sure yet (about {} more episodes)": "看起来更差，还不能确定（大约还要 {} 局）",
    "better": "更好",
    "worse": "更差",
}


@pytest.fixture
def play(world: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command's `main` in the small world, with the flags that all three share."""
    from steve1.evaluation import compare as library
    from steve1.evaluation.pipeline import evaluate

    def small(settings: Any, inputs: Any = None) -> Any:
        return evaluate(settings, injected())

    monkeypatch.setattr("steve1.evaluation.pipeline.evaluate", small)
    monkeypatch.setattr(library, "evaluate", small)

    def run(command: Any, names: tuple[str, ...], episodes: int, **more: Any) -> dict[str, Any]:
        weights = tuple(str(world / f"{name}.weights") if name in ("base", "tuned") else name for name in names)
        shared = {
            "episodes": episodes,
            "workers": 0,
            "videos": 0,
            "suite": str(world / "suite.yaml"),
            "folder": str(world / "run"),
        }
        command.main(command.Args(weights=weights, **{**shared, **more}))
        found: dict[str, Any] = json.loads((world / "run" / "report.json").read_text())
        return found

    return run


COMMANDS = {
    "compare": (compare_command, {"prompt": "dig dirt"}),
    "evaluate": (evaluate_command, {"tasks": ("dig_dirt",), "target": ("dig_dirt",), "similarity": 0}),
    "evaluate_on_minedojo": (minedojo_command, {"task": ("dig_dirt",)}),
}


@pytest.mark.parametrize(("names", "episodes", "said"), SAID)
@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_one_verdict_everywhere(
    language: str,
    name: str,
    names: tuple[str, str],
    episodes: int,
    said: str,
    play: Any,
    world: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Console, page, Markdown, CSV and JSON say the same of a target, with the same p and interval."""
    monkeypatch.setenv("STEVE1_LANG", language)
    command, flags = COMMANDS[name]
    report = play(command, names, episodes, **flags)
    row = report["comparisons"][names[1]]["dig_dirt"]
    assert report["target"] == ["dig_dirt"]
    assert f"{row['p']:.4f}"[:4] == P[episodes][:4]
    kind = (said if language == "en" else CHINESE[said]).format(row["further_episodes"])
    kind = kind.replace("about 1 more episodes", "about one more episode")
    low, high = (f"{100 * end:+.0f}" for end in row["interval"])
    better, p = names[1] == "tuned", P[episodes]
    wins = (0, episodes) if better else (episodes, 0)
    if language == "en":
        counts = f"base {wins[0]} of {episodes}, fine-tuned {wins[1]} of {episodes}"
        sentence = (
            f"dig dirt: {kind}; {counts} ({'+' if better else '-'}100 points, 95 % interval {low} to {high}, p {p})."
        )
    else:
        counts = f"微调前 {wins[0]}/{episodes}，微调后 {wins[1]}/{episodes}"
        sentence = (
            f"挖泥土：{kind}；{counts}（{'+' if better else '-'}100 个百分点，95% 区间 {low} 到 {high}，p {p}）。"
        )
    assert report["sentences"] == [sentence]
    texts = {file: (world / "run" / file).read_text() for file in ("report.md", "report.html", "comparisons.csv")}
    for text in (capsys.readouterr().out, texts["report.md"], texts["report.html"]):
        assert sentence in text
    assert f"| {kind} |" in texts["report.md"]
    assert texts["comparisons.csv"].splitlines()[1].split(",")[-2:] == [row["verdict"], row["measure"]]
    assert ('<td class="open">' in texts["report.html"]) == (episodes < 6)


def test_several_named_tasks_are_all_targets(play: Any, capsys: pytest.CaptureFixture[str]) -> None:
    report = play(minedojo_command, ("base", "tuned"), 5, task=("dig_dirt", "swim"))
    assert report["target"] == ["dig_dirt", "swim"]
    assert capsys.readouterr().out.count(": looks better, not sure yet (about ") == 2


def test_other_tasks_are_old_skills(play: Any, world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = {"tasks": ("swim", "dig_dirt"), "similarity": 0}
    report = play(evaluate_command, ("base", "tuned"), 6, **flags, target=("dig_dirt",))
    out = capsys.readouterr().out
    assert "New skill: dig_dirt. The other tasks are old skills." in out
    assert [line.split(" base")[0] for line in report["sentences"]] == ["dig dirt: better;", "swim: gained;"]
    (answer,) = report["answer"]
    assert answer.startswith("Better at dig dirt: +100 points (95 % interval ")
    assert answer.endswith("). Old skills, with a margin of 10 points: gained at swim.")
    assert out.lstrip().startswith(answer)
    text = (world / "run" / "report.md").read_text()
    assert text.split("\n\n")[1] == answer
    assert answer in (world / "run" / "report.html").read_text()
    play(evaluate_command, ("tuned", "base"), 6, **{**flags, "name": "b"}, target=("dig_dirt",))


def test_a_new_skill_that_is_not_played_is_named(play: Any, capsys: pytest.CaptureFixture[str]) -> None:
    report = play(evaluate_command, ("base", "tuned"), 5, tasks=("swim",), similarity=0, target=("dig_dirt",))
    assert report["target"] == []
    assert report["answer"][0].startswith("To be learned, but not played: dig_dirt. Old skills")
    assert "To be learned, but not played: dig_dirt." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("base", "tuned", "target", "said"),
    [
        (["swim"], ["dig_dirt", "swim"], ["dig_dirt"], "because only the fine-tuned weights were trained on it"),
        (["swim"], ["挖泥土"], ["dig_dirt"], "because only the fine-tuned weights"),
        ([], ["dig dirt"], ["dig_dirt"], "because only the fine-tuned weights"),
        (["dig_dirt"], ["dig_dirt"], ["dig_dirt"], "because only the fine-tuned weights"),
        ([], ["dig_dirt", "swim"], [], "name it: --target TASK"),
        (["swim"], ["build a castle"], [], "name it: --target TASK"),
        ([], [], [], "name it: --target TASK"),
    ],
)
def test_the_target_is_what_the_weights_were_trained_on(
    base: list[str],
    tuned: list[str],
    target: list[str],
    said: str,
    play: Any,
    world: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, skills in (("base", base), ("tuned", tuned)):
        path = world / f"{name}.weights.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "trained_on": skills}))
    report = play(evaluate_command, ("base", "tuned"), 2, tasks=("dig_dirt", "swim"), similarity=0)
    assert report["target"] == target
    assert said in capsys.readouterr().out


def test_a_measure_that_fell_is_said_where_successes_cannot_tell() -> None:
    """Exploring in twenty episodes: 20 and 16 successes, 16.6 nodes less."""
    random = np.random.default_rng(0)
    lines = []
    for number in range(20):
        for who, won, far in (("base", True, 57.0), ("tuned", number >= 4, 40.0)):
            measure = {"explore": far + float(random.normal(0, 10))}
            lines.append(
                {"contestant": who, "row": "explore", "number": number, "success": {"explore": won}, "measure": measure}
            )
    tasks = [load_suite("luanti").find("explore")]
    summary = summarise(lines, ["base", "tuned"], ["explore"], "base") | {
        "roles": {"base": "base", "tuned": "fine-tuned"}
    }
    (said,) = verdicts(summary, tasks)
    assert said.startswith(
        "explore: cannot tell (about 13 more episodes); base 20 of 20, fine-tuned 16 of 20 (-20 points,"
    )
    assert "But worse by the mean of its measure, distance from the start (nodes): -" in said
    assert said.endswith(").")
    assert "kept" not in said


def test_tasks_that_neither_can_do_share_a_line() -> None:
    names = ["dig_dirt", "swim", "chop_tree"]
    lines = [
        {"contestant": who, "row": task, "number": n, "success": {task: False}, "measure": {task: 0.0}}
        for who in ("base", "tuned") for task in names for n in range(20)
    ]  # fmt: skip
    tasks = [load_suite("luanti").find(name) for name in names]
    summary = summarise(lines, ["base", "tuned"], names, "base", target=["dig_dirt"]) | {
        "roles": {"base": "base", "tuned": "fine-tuned"}
    }
    first, second = verdicts(summary, tasks)
    assert first.startswith("dig dirt: neither can do it; base 0 of 20, fine-tuned 0 of 20")
    assert second == "swim, chop a tree: neither can do it."


def played(outcomes: dict[str, tuple[str, str]]) -> list[dict[str, Any]]:
    """Lines of {task: outcomes of base and tuned, a 0 or 1 for each episode}."""
    return [
        {"contestant": who, "row": task, "number": number, "success": {task: bit == "1"}, "measure": {task: 0.0}}
        for task, both in outcomes.items()
        for who, bits in zip(("base", "tuned"), both)
        for number, bit in enumerate(bits)
    ]


@pytest.mark.parametrize(
    ("unasked", "english", "chinese"),
    [
        (
            "1" * 8 + "0" * 12,
            "It leaks into other prompts: dig dirt in 8 of 20 episodes, base 1 of 20 (+35 points, 95 % interval +12 to +59).",
            "它泄漏到了其他提示词下：挖泥土 8/20 局，微调前 1/20（+35 个百分点，95% 区间 +12 到 +59）。",
        ),
        (
            "1" + "0" * 19,
            "Under other prompts: dig dirt in 1 of 20 episodes, base 1 of 20 (+0 points, 95 % interval -18 to +18).",
            "在其他提示词下：挖泥土 1/20 局，微调前 1/20（+0 个百分点，95% 区间 -18 到 +18）。",
        ),
    ],
)
def test_a_leak_into_other_prompts_is_said(
    unasked: str, english: str, chinese: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exploring is judged by the rule of digging too; swimming, elsewhere, and episodes without a prompt of a task are not counted."""
    lines = played({"dig_dirt": ("0" * 20, "1" * 20), "explore": ("1" * 20, "1" * 20), "swim": ("1" * 20, "1" * 20)})
    for line in lines:
        if line["row"] == "explore":
            before = "1" + "0" * 19
            line["success"]["dig_dirt"] = (before if line["contestant"] == "base" else unasked)[line["number"]] == "1"
            line["measure"]["dig_dirt"] = 0.0
    names = ["dig_dirt", "explore", "swim"]
    summary = summarise(lines, ["base", "tuned"], names, "base", target=["dig_dirt"])
    summary |= {"roles": {"base": "base", "tuned": "fine-tuned"}}
    tasks = [load_suite("luanti").find(name) for name in names]
    for language, said in (("en", english), ("zh", chinese)):
        monkeypatch.setenv("STEVE1_LANG", language)
        assert verdicts(summary, tasks)[-1] == said
    assert summarise(lines, ["base", "tuned"], names, "base")["leaks"] == {"tuned": {}}
    assert summarise(lines, ["base", "tuned"], names, "base", ["tuned"], target=["dig_dirt"])["leaks"] == {}


@pytest.mark.parametrize(("wins", "interval"), [("0" * 17 + "111", [0.0, 0.36]), ("1" * 5, [-0.04, 1.0])])
def test_prompts_on_one_seed_are_one_piece_of_evidence_of_a_leak(wins: str, interval: list[float]) -> None:
    """Three prompts that dig at the same three of twenty places: nine of sixty independent episodes would be a leak."""
    others = ["explore", "look_up", "swim"]
    lines = played({row: ("0" * len(wins), wins) for row in others})
    for line in lines:
        line["success"], line["measure"] = {"dig_dirt": line["success"][line["row"]]}, {"dig_dirt": 0.0}
    found = summarise(lines, ["base", "tuned"], ["dig_dirt"], "base", target=["dig_dirt"])["leaks"]["tuned"]["dig_dirt"]
    won = wins.count("1")
    assert (found["pairs"], found["successes"]) == (3 * len(wins), [0, 3 * won])
    assert found["difference"] == pytest.approx(won / len(wins))
    assert found["interval"] == pytest.approx(interval, abs=0.05)
    assert found["interval"][0] <= 0


def test_each_episode_weighs_the_same_for_a_leak_where_prompts_were_played_more_or_less_often() -> None:
    lines = played({"explore": ("0" * 20, "1" * 10 + "0" * 10), "swim": ("0" * 10, "1" * 10)})
    for line in lines:
        line["success"], line["measure"] = {"dig_dirt": line["success"][line["row"]]}, {"dig_dirt": 0.0}
    found = leaks(lines, "base", "tuned", ["dig_dirt"])["dig_dirt"]
    assert (found["pairs"], found["successes"], found["difference"]) == (30, [0, 20], pytest.approx(2 / 3))
    assert 0 < found["interval"][0] < 2 / 3 < found["interval"][1] <= 1


@pytest.mark.parametrize(
    ("dig", "english", "chinese"),
    [
        (("0" * 10, "1" * 8 + "00"), "Better at dig dirt: +80 points (95 % interval {i}).", "挖泥土变好了：+80 个百分点（95% 区间 {i}）。"),
        (("1" * 8 + "00", "0" * 10), "Worse at dig dirt: -80 points (95 % interval {i}).", "挖泥土变差了：-80 个百分点（95% 区间 {i}）。"),
        (
            ("0" * 10, "111" + "0" * 7),
            "Not yet clear whether it got better at dig dirt: +30 points (95 % interval {i}); {m} would settle it.",
            "挖泥土是否变好还不能确定：+30 个百分点（95% 区间 {i}）；{m}才能确定。",
        ),
        (("0" * 40, "0" * 40), "No better at dig dirt: neither can do it.", "挖泥土没有变好：微调前后都不会。"),
        (("01" * 200, "01" * 200), "No better at dig dirt: no difference larger than {w} points.", "挖泥土没有变好：差别不超过 {w} 个百分点。"),
    ],
)  # fmt: skip
def test_the_first_line_says_whether_it_was_learned_and_what_was_kept(
    dig: tuple[str, str], english: str, chinese: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = {
        "dig_dirt": dig, "explore": ("1" * 60, "1" * 60), "swim": ("1" * 8 + "00", "1" * 7 + "000"), "look_at_sky": ("1" * 10, "0" * 10),
        "chop_tree": ("0" * 40, "0" * 40),
    }  # fmt: skip
    tasks = [load_suite("luanti").find(name) for name in outcomes]
    summary = summarise(played(outcomes), ["base", "tuned"], list(outcomes), "base", target=["dig_dirt"])
    summary |= {"roles": {"base": "base", "tuned": "fine-tuned"}}
    row, open_one = (summary["comparisons"]["tuned"][task] for task in ("dig_dirt", "swim"))
    low, high = (f"{100 * end:+.0f}" for end in row["interval"])
    told = {
        "en": (
            english.format(i=f"{low} to {high}", m="{m}", w=row["within"]),
            " Old skills, with a margin of 10 points: lost look at the sky; cannot tell yet for swim ({m} would settle it); kept explore; "
            "neither can do chop a tree.",
        ),
        "zh": (
            chinese.format(i=f"{low} 到 {high}", m="{m}", w=row["within"]),
            "原有技能（允许相差 10 个百分点）：退化：看天空；还看不出：游泳（{m}才能确定）；保持：探索；都不会：砍树。",
        ),
    }
    for language, (first, old) in told.items():
        monkeypatch.setenv("STEVE1_LANG", language)
        more = [more_episodes(each["further_episodes"]) for each in (row, open_one)]
        assert first_lines(summary, tasks) == [first.replace("{m}", more[0]) + old.replace("{m}", more[1])]


def test_the_first_line_names_what_was_not_played(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [load_suite("luanti").find("dig_dirt")]
    summary = summarise(
        played({"dig_dirt": ("0" * 6, "1" * 6)}), ["base", "tuned"], ["dig_dirt"], "base", target=["dig_dirt"]
    )
    no_old = "No old skill was played, so whether old skills were kept is not known."
    assert first_lines(summary, tasks)[0].endswith(no_old)
    two = {**summary, "unplayed": ["swim"]}
    assert first_lines(two, tasks)[0].endswith(f"To be learned, but not played: swim. {no_old}")
    assert list(notes(two))[:2] == [
        "New skill: dig_dirt. The other tasks are old skills.",
        "To be learned, but not played: swim.",
    ]
    summary = summarise(played({"dig_dirt": ("0" * 6, "1" * 6)}), ["base", "tuned"], ["dig_dirt"], "base")
    assert first_lines(summary, tasks)[0].startswith(
        "Which task was to be learned is not known (--target TASK names it)."
    )
    assert next(notes(summary)).startswith("Every task counts as an old skill.")
    summary["unplayed"] = ["swim"]
    assert first_lines(summary, tasks)[0].startswith("To be learned, but not played: swim. Old skills")
    assert list(notes(summary))[:2] == [
        "To be learned, but not played: swim.",
        "All tasks that were played are old skills.",
    ]
    summary = summarise(played({"dig_dirt": ("0" * 6, "1" * 6)}), ["base", "tuned"], ["dig_dirt"], "base", ["tuned"])
    assert first_lines(summary, tasks) == []


def test_floors_get_no_verdict(play: Any, capsys: pytest.CaptureFixture[str]) -> None:
    report = play(compare_command, ("base", "nothing"), 5, prompt="dig dirt")
    assert report["sentences"] == []
    assert report["roles"] == {}
    out = capsys.readouterr().out
    assert "| dig_dirt | 0/5" in out
    assert "not sure" not in out
    assert "| – |" not in out


@pytest.mark.parametrize("suite", ["luanti", "minecraft"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_task_s_rule_and_measure_can_be_said(suite: str, language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEVE1_LANG", language)
    for task in load_suite(suite).tasks.values():
        said = needs(task)
        assert "{" not in said
        assert said.isascii() == (language == "en")
        assert task.measure_label.isascii() == (language == "en")
    assert set(KINDS) == {key.removeprefix("rule ") for key in MESSAGES if key.startswith("rule ")}


def test_a_rule_in_words() -> None:
    tasks = load_suite("luanti").tasks
    assert needs(tasks["explore"]) == "needs at least 25 nodes from the start"
    assert needs(tasks["dig_dirt"]) == (
        "needs at least 4 dirt gained and at least 4 dirt, grass block, dirt with dry grass or 2 others dug"
    )
    assert needs(tasks["look_at_sky"]) == (
        "needs a mean pitch of at most -50 degrees in the last 33 % (negative is up)"
    )


def test_steps_are_refused_where_tasks_have_their_own(play: Any) -> None:
    with pytest.raises(UserError, match="--steps is for MineDojo"):
        play(minedojo_command, ("base", "tuned"), 2, task=("dig_dirt",), steps=600)


def test_play_tells_of_the_prompt_s_task_and_of_what_was_solved() -> None:
    """A player that walks 30 nodes: under the prompt for exploring, for digging, and under one that no task judges."""
    positions = np.stack([np.linspace(0, 30, 11), np.zeros(11), np.zeros(11)], axis=1)
    counts: dict[str, Any] = {kind: {} for kind in ("inventory", "dug", "placed", "crafted")}
    trace = Trace(np.zeros((10, 2), np.int64), positions, np.zeros((11, 2)), np.zeros(11, bool), np.zeros(11), counts)
    suite = load_suite("luanti")
    explored = "explore: success (distance from the start (nodes): 30.0)"
    assert achievements(suite, suite.find("explore"), "meadow", trace) == [explored]
    digging = achievements(suite, suite.find("dig_dirt"), "meadow", trace)
    assert digging == ["dig_dirt: no success (dirt gained: 0.0)", explored]
    assert achievements(suite, None, "meadow", trace) == [explored]
    assert achievements(suite, None, "shore", trace) == []


def test_a_prompt_that_no_task_judges_is_told_in_the_users_language(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEVE1_LANG", "zh")
    with pytest.raises(UserError) as fault:
        play(compare_command, ("base", "tuned"), 3, prompt="唱歌跳舞", suite="luanti")
    assert '应为:     "挖泥土", "看天空"' in str(fault.value)
    assert "下一步:   用 --task NAME" in str(fault.value)
