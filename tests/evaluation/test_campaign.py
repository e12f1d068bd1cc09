"""Evaluations from end to end with a fake world: pairing, resuming, workers that die, reports."""

from __future__ import annotations

import csv
import dataclasses
import inspect
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from research.matrix import prompt_matrix, with_prompts
from steve1.core.errors import UserError
from steve1.core.files import sha256_file
from steve1.evaluation.casts import PolicyCast
from steve1.evaluation.compare import compare
from steve1.evaluation.pipeline import Report, evaluate
from steve1.evaluation.policies import NO_GOAL, parse_policies
from steve1.evaluation.runner.known import read_lines
from steve1.evaluation.runner.log import EpisodeLog
from steve1.evaluation.runner.plan import Row, make_jobs, make_plan
from steve1.evaluation.settings import PlaySettings
from steve1.goals import GoalEncoder
from tests import forks
from tests.evaluation.worlds import GOALS, floors_played, injected, settings
from tests.rollout.fakes import OpenFake, fake_starts, goal


def test_an_evaluation_is_paired_judged_and_reported(world: Path) -> None:
    report = evaluate(settings(world, "base", "tuned", "nothing", "random"), injected())
    rates = report.summary["rates"]
    assert {task: rates[task]["tuned"]["successes"] for task in rates} == {"dig_dirt": 4, "look_at_sky": 4, "swim": 4}
    assert {task: rates[task]["base"]["successes"] for task in rates} == {"dig_dirt": 0, "look_at_sky": 0, "swim": 0}
    assert rates["dig_dirt"]["tuned"]["mean_measure"] == 8.0
    assert rates["swim"]["nothing"]["successes"] == 0
    cross = report.summary["cross"]["tuned"]
    assert cross["dig_dirt"]["look_at_sky"]["successes"] == 0, "each episode is judged by all tasks of its place"
    assert "swim" not in cross["dig_dirt"], "a task elsewhere is not judged"
    gained = report.summary["comparisons"]["tuned"]["dig_dirt"]
    assert gained["difference"] == 1.0
    assert gained["p"] == pytest.approx(2 * 0.5**4, abs=1e-6)
    by_number: dict[tuple[Any, ...], set[int]] = {}
    for line in report.lines:
        by_number.setdefault((line["key"].split("/")[-1],), set()).add(line["seed"])
    assert all(len(seeds) == 1 for seeds in by_number.values()), "the same seeds for everyone"
    assert len({next(iter(seeds)) for seeds in by_number.values()}) == 8, "a seed of its own for each episode"
    traces = sorted((world / "run" / "traces").rglob("*.json"))
    starts = {path.name: json.loads(path.read_text())["start"]["id"] for path in traces}
    assert starts["meadow-000.json"] == "meadow-0"
    assert starts["meadow-003.json"] == "meadow-0"
    page = report.paths["html"].read_text()
    assert "http" not in page.replace("http://www.w3.org", "")
    assert "4/4" in page
    rows = list(csv.DictReader(report.paths["csv"].open()))
    row = next(
        row
        for row in rows
        if row["contestant"] == "tuned" and row["asked_for"] == "dig_dirt" and row["task"] == "dig_dirt"
    )
    assert (row["successes"], row["episodes"]) == ("4", "4")
    assert "| dig_dirt | 0/4" in report.paths["md"].read_text()
    assert json.loads(report.paths["json"].read_text())["settings"]["contestants"][0]["sha256"]


def test_nothing_is_played_twice_and_more_episodes_only_add(world: Path) -> None:
    class Counting(OpenFake):
        opened = 0

        def __call__(self, instance: int) -> Any:
            Counting.opened += 1
            return super().__call__(instance)

    evaluate(settings(world, "base", "tuned", tasks=("dig_dirt",), episodes=1), injected())
    first = evaluate(settings(world, "base", "tuned"), injected(open_game=Counting()))
    again = evaluate(settings(world, "base", "tuned"), injected(open_game=Counting()))
    assert Counting.opened == 1
    assert again.lines == first.lines
    more = evaluate(settings(world, "base", "tuned", "nothing", episodes=5), injected(open_game=Counting()))
    assert [line for line in more.lines if line["number"] < 4 and line["contestant"] != "nothing"] == first.lines
    with pytest.raises(UserError, match="other settings") as fault:
        evaluate(settings(world, "base", "tuned", seed=1), injected())
    assert fault.value.got == "seed: 0 then, 1 now"
    evaluate(settings(world, "nothing", tasks=("swim",), episodes=1), injected())
    with pytest.raises(UserError, match="other settings") as fault:
        evaluate(settings(world, "base", "tuned", prompts={"dig_dirt": "look at the sky"}), injected())
    assert fault.value.got == "prompt of dig_dirt: 'dig dirt' then, 'look at the sky' now"
    (world / "tuned.weights").write_bytes(b"trained further")
    with pytest.raises(UserError, match="other settings"):
        evaluate(settings(world, "base", "tuned"), injected())


HASHES = {"model_sha256", "mineclip_sha256", "prior_sha256"}


@pytest.mark.parametrize("part", ["model", "mineclip", "prior", "weights"])
def test_another_file_of_the_same_name_is_named(world: Path, part: str) -> None:
    """Every file that a policy plays with is known by its content: at another path it is the same one, changed it is not."""
    (world / "clip").write_bytes(b"clip")
    (world / "p").write_bytes(b"prior")
    files = {
        "model": world / "m.model",
        "mineclip": world / "clip",
        "prior": world / "p",
        "weights": world / "tuned.weights",
    }

    def note() -> None:
        written = {name: str(path) for name, path in files.items() if name != "weights"}
        files["weights"].with_name(files["weights"].name + ".json").write_text(json.dumps({**written, "env": "luanti"}))

    def again() -> Report:
        chosen = settings(world, "nothing", tasks=("swim",), episodes=1)
        return evaluate(dataclasses.replace(chosen, weights=(str(files["weights"]),)), injected())

    note()
    first = again()
    (world / "sub").mkdir()
    files[part] = files[part].rename(world / "sub" / files[part].name)
    note()
    assert again().lines == first.lines
    files[part].write_bytes(b"another")
    with pytest.raises(UserError, match="other settings") as fault:
        again()
    name = "sha256" if part == "weights" else f"{part}_sha256"
    assert fault.value.got.startswith(f"{name} of tuned: ")
    assert "; " not in fault.value.got, "nothing else is named"
    files[part].write_bytes(b"")
    if part != "weights":
        files[part].unlink()
        if part != "model":
            assert again().lines == first.lines, "what is not on this machine cannot be compared"


def test_weights_with_one_name_on_disk_are_not_taken_for_one_another(world: Path) -> None:
    """Episodes lie under names in small letters, so those of "Tuned" would be taken for those of "tuned"."""
    (world / "other").mkdir()
    named = world / "other" / "Tuned.weights"
    named.write_bytes(b"other weights")
    (world / "other" / "Tuned.weights.json").write_text((world / "tuned.weights.json").read_text())
    first = dataclasses.replace(settings(world, tasks=("swim",), episodes=1), weights=(str(named),))
    evaluate(first, injected(("Tuned",)))
    with pytest.raises(UserError, match="other settings") as fault:
        evaluate(settings(world, "tuned", tasks=("swim",), episodes=1), injected())
    assert "name of tuned: Tuned then" in fault.value.got


def test_a_film_is_of_the_weights_that_it_is_shown_for(world: Path) -> None:
    """Names that begin alike, and one with a sign that ends an address."""
    long = "weights_of_a_run_with_a_rather_long_name_"
    (world / "suite.yaml").write_text((world / "suite.yaml").read_text().replace("  swim:", '  "swim#2":'))
    names = [f"{long}{ending}" for ending in "bcd"] + ["dig#2"]
    for name in names:
        (world / f"{name}.weights").write_bytes(name.encode())
        (world / f"{name}.weights.json").write_text((world / "tuned.weights.json").read_text())
    seen: list[str] = []
    for others in ((names[0], names[1]), (names[0], names[2]), (names[3],)):
        files = tuple(str(world / f"{name}.weights") for name in ("base", *others))
        chosen = dataclasses.replace(settings(world, tasks=("swim#2",), episodes=1, videos=1), weights=files)
        report = evaluate(chosen, injected(("base", *names)))
        found = re.findall(r'src="(videos/[^"]+)"', report.paths["html"].read_text())
        assert found
        assert all((report.paths["html"].parent / film).is_file() for film in found), "a name is its address as it is"
        assert not [film for film in found if "#" in film], "a browser would end the address there"
        seen += [film for film in found if "-vs-" in film]
    assert len(set(seen)) == len(seen) == 3


def test_an_evaluation_made_before_continues(world: Path) -> None:
    """Keys on disk keep their names, and a suite is known by the sha256 of its earlier file as well."""
    report = evaluate(settings(world, "base", "tuned", episodes=2), injected())
    assert set(report.lines[0]) == {
        *("key", "contestant", "row", "prompt", "number", "seed", "steps", "ended", "success", "measure", "actions"),
        *("seconds", "restarts", "video", "similarity", "start"),
    }
    path = world / "run" / "settings.json"
    kept = json.loads(path.read_text())
    assert set(kept) == {
        *("suite", "suite_sha256", "env", "seed", "goal_seed", "deterministic", "episodes", "videos", "similarity"),
        *("contestants", "tasks", "prompts"),
    }
    weights = {"model", "mineclip", "prior", "cond_scale", "temperature", "weights", "sha256", "name", "kind"}
    assert weights <= set(kept["contestants"][0]) <= weights | HASHES
    for facts in kept["contestants"]:  # of a version that did not hash these files
        for name in HASHES:
            facts.pop(name, None)
    suite = world / "suite.yaml"
    suite.write_text(suite.read_text().replace("biome:", "surroundings:"))
    path.write_text(json.dumps({**kept, "suite_sha256": sha256_file(suite)}))
    more = evaluate(settings(world, "base", "tuned", episodes=3), injected())
    assert [line for line in more.lines if line["number"] < 2] == report.lines
    suite.write_text(suite.read_text().replace("at_least: 4", "at_least: 5"))
    with pytest.raises(UserError, match="other settings"):
        evaluate(settings(world, "base", "tuned", episodes=3), injected())


def test_old_skills_that_the_same_weights_have_played_are_taken_from_there(world: Path) -> None:
    """By the weights' hash, with the same seed at the same places; the skill to be learned is played where it is to be filmed."""
    how: dict[str, Any] = {"target": ("dig_dirt",), "similarity": 0, "videos": 1}
    evaluate(settings(world, "base", folder=str(world / "before"), episodes=3, **how), injected())
    known = str(world / "before")
    report = evaluate(settings(world, "base", "tuned", known_results=known, **how), injected())
    taken = {line["key"] for line in report.lines if "known" in line}
    assert len(taken) == 6, "three episodes of each of two old skills"
    assert {line["contestant"] for line in report.lines if "known" in line} == {"base"}
    assert not {line["row"] for line in report.lines if "known" in line} & {"dig_dirt"}
    played = {
        path.relative_to(world / "run/traces").with_suffix("").as_posix()
        for path in (world / "run/traces").rglob("*.npz")
    }
    assert played == {line["key"] for line in report.lines} - taken
    assert "6 of the episodes are earlier results" in report.paths["md"].read_text()
    again = evaluate(settings(world, "base", "tuned", known_results=known, **how), injected())
    assert again.lines == report.lines
    unseen = evaluate(
        settings(world, "base", "tuned", folder=str(world / "unseen"), known_results=known, **{**how, "videos": 0}),
        injected(),
    )
    assert len({line["key"] for line in unseen.lines if "known" in line}) == 9

    for number, change in enumerate(
        ({"seed": 1}, {"cond_scale": 2.0}, {"prompts": {"swim": "dive"}, "tasks": ("dig_dirt", "swim")})
    ):
        goals = {"goals": {name: {**GOALS, "dive": goal(2)} for name in ("base", "tuned")}}
        other = settings(
            world, "base", "tuned", folder=str(world / f"other{number}"), known_results=known, **{**how, **change}
        )
        found = evaluate(other, injected(**goals))
        assert not [line for line in found.lines if "known" in line], change
        assert "every episode was played" in found.paths["md"].read_text()
    (world / "base.weights").write_bytes(b"newer weights")
    newer = settings(world, "base", "tuned", folder=str(world / "newer"), known_results=known, **how)
    assert not [line for line in evaluate(newer, injected()).lines if "known" in line]

    with pytest.raises(UserError, match="no results of an evaluation"):
        evaluate(settings(world, "base", folder=str(world / "none"), known_results=str(world), **how), injected())
    log = world / "before" / "episodes.jsonl"
    log.write_text(log.read_text() + '{"key": "cut off by a ki')
    assert len(read_lines(log)) == 9
    log.write_text("{\n" + log.read_text())
    with pytest.raises(UserError, match="damaged line"):
        evaluate(settings(world, "base", "tuned", folder=str(world / "torn"), known_results=known, **how), injected())


def test_a_sequential_evaluation_takes_earlier_results_after_every_look(world: Path) -> None:
    how: dict[str, Any] = {"similarity": 0, "tasks": ("swim",)}
    evaluate(settings(world, "base", folder=str(world / "before"), episodes=12, **how), injected())
    how |= {"stopping": "sequential", "max_episodes": 12, "known_results": str(world / "before")}
    report = evaluate(settings(world, "base", "tuned", **how), injected())
    taken = {line["number"] for line in report.lines if line["contestant"] == "base" and "known" in line}
    assert taken == {line["number"] for line in report.lines}
    assert len(taken) > 4, "there was a second look"


def test_what_was_played_with_goals_of_demonstrations_is_played_anew(world: Path) -> None:
    """Which demonstrations they were of is not known there: another run may have been shown others."""
    who = ("base", "base+text", "base+shown")
    how: dict[str, Any] = {"attribution": True, "similarity": 0, "tasks": ("swim",), "episodes": 2}
    evaluate(settings(world, "base", folder=str(world / "before"), **how), injected(who))
    report = evaluate(settings(world, "base", known_results=str(world / "before"), **how), injected(who))
    assert {line["contestant"] for line in report.lines if "known" in line} == {"base", "base+text"}
    assert len(report.lines) == 6


def test_a_torn_last_line_is_played_again_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    log = EpisodeLog(tmp_path, {"seed": 0})
    log.add({"key": "a"})
    log.add({"key": "b"})
    text = log.path.read_bytes()
    for cut in range(len(text) // 2 + 1, len(text)):
        log.path.write_bytes(text[:cut])
        again = EpisodeLog(tmp_path, {"seed": 0})
        assert list(again.lines) == ["a"]
        again.add({"key": "c"})
        assert list(EpisodeLog(tmp_path, {"seed": 0}).lines) == ["a", "c"]
    log.path.write_bytes(b"{broken\n" + text)
    with pytest.raises(UserError, match="damaged line") as fault:
        EpisodeLog(tmp_path, {"seed": 0})
    assert "episodes.jsonl:1" in str(fault.value)


def test_the_matrix_shows_what_each_prompt_does(world: Path) -> None:
    found, _, paths = prompt_matrix(
        settings(world, "tuned"),
        ("go up", "no goal"),
        inputs=injected(goals={"tuned": {**GOALS, "go up": goal(1), "no goal": goal(1)}}),
    )
    assert found["rows"] == ["dig_dirt", "look_at_sky", "swim", "go-up", "no-goal-2", NO_GOAL, "(random actions)"]
    wins = {row: {task: cell["successes"] for task, cell in found["cells"][row].items()} for row in found["rows"]}
    assert wins["dig_dirt"] == {"dig_dirt": 4, "look_at_sky": 0, "swim": 0}
    assert wins["go-up"] == {"dig_dirt": 0, "look_at_sky": 4, "swim": 0}
    assert wins[NO_GOAL] == {"dig_dirt": 0, "look_at_sky": 0, "swim": 0}
    assert found["tests"]["dig_dirt"]["other_episodes"] == 12, "two other prompts and no goal"
    assert found["tests"]["dig_dirt"]["p_fisher"] < 0.001
    assert found["tests"]["look_at_sky"]["other_successes"] == 0, (
        "a further prompt may be a paraphrase: not tested against"
    )
    assert paths["png"].read_bytes().startswith(b"\x89PNG")
    assert "**4/4" in paths["md"].read_text()


def test_further_prompts_have_rows_of_their_own() -> None:
    """One that is a task's own is no second row, which would count twice in the tests; two that differ by a full stop are two."""
    rows = [Row("swim", "swim", "swim"), Row("dig_dirt", "dig dirt", "dig_dirt")]
    found = with_prompts(rows, ("swim", "go up", "Go up.", "go up", "Swim!"))
    assert found[:2] == rows
    assert found[2:] == [Row("go-up", "go up"), Row("go-up-2", "Go up."), Row("swim-2", "Swim!")]


def test_compare_films_side_by_side(world: Path) -> None:
    from steve1.data.media.video import probe

    out = world / "film.mp4"
    report, film = compare(settings(world, "base", "tuned", tasks=("dig_dirt",), videos=1), "dig dirt", out, injected())
    assert film == out
    assert probe(out).frames == 40 + 20
    assert report.film is not None
    assert report.film.read_bytes() == out.read_bytes()
    with pytest.raises(UserError, match="at least one episode"):
        compare(settings(world, "base", tasks=("dig_dirt",), episodes=0), "dig dirt", inputs=injected())


def test_jobs_are_plain_and_early_episodes_come_first(world: Path) -> None:
    jobs = make_jobs(make_plan(settings(world, "base", "tuned", "random", videos=1)), fake_starts)
    assert len(jobs) == 4 * (2 * 3 + 2)
    assert [job.number for job in jobs] == sorted(job.number for job in jobs)
    assert len({job.key for job in jobs}) == len(jobs)
    assert all(bool(job.video) == (job.number == 0) for job in jobs)
    with pytest.raises(UserError, match="at least one episode"):
        make_jobs(make_plan(settings(world, "base", episodes=0)), fake_starts)


def test_a_prompt_of_ones_own_goes_with_a_task_by_any_of_its_names(world: Path) -> None:
    chosen = settings(world, "base", tasks=("Dig Dirt",), prompts={"Dig Dirt": "dig a hole"})
    assert [(row.name, row.prompt) for row in make_plan(chosen).rows] == [("dig_dirt", "dig a hole")]
    with pytest.raises(UserError, match="There is no task"):
        make_plan(settings(world, "base", prompts={"dance": "dance"}))


def test_another_seed_is_other_random_numbers_at_the_same_places(world: Path) -> None:
    """As the help of --seed says: an evaluation with another seed is no evaluation at other places."""
    one, other = (make_jobs(make_plan(settings(world, "base", seed=seed)), fake_starts) for seed in (0, 1))
    assert [job.start for job in one] == [job.start for job in other]
    assert not {job.seed for job in one} & {job.seed for job in other}
    assert "same places with every seed" in inspect.getsource(PlaySettings)


def test_tasks_with_one_name_on_disk_are_named(world: Path) -> None:
    """Episodes lie under names in small letters, so those of "Swim" would be taken for those of "swim"."""
    tasks = (world / "suite.yaml").read_text()
    (world / "suite.yaml").write_text(tasks.replace("  look_at_sky:", "  Dig_dirt:"))
    with pytest.raises(UserError, match="Two tasks have the same name") as fault:
        make_jobs(make_plan(settings(world, "base")), fake_starts)
    assert fault.value.got == "dig_dirt, Dig_dirt"
    assert make_jobs(make_plan(settings(world, "base", tasks=("swim",))), fake_starts)


@pytest.mark.parametrize("prompts", [("go up", "go up!"), ("explore", "Explore!")])
def test_prompts_that_would_be_recorded_under_one_name_are_refused(world: Path, prompts: tuple[str, ...]) -> None:
    """Before, the second replaced the first."""
    with pytest.raises(UserError, match="Two prompts have the same name") as fault:
        PolicyCast(str(world / "tuned.weights"), prompts, env="luanti", seed=0, split="demo", games=1)
    assert fault.value.got == "; ".join(prompts)


def test_policies_are_checked_before_anything_is_loaded(world: Path) -> None:
    with pytest.raises(UserError, match="weights were not found") as fault:
        parse_policies([str(world / "bsae.weights")])
    assert "base.weights" in str(fault.value)
    with pytest.raises(UserError, match="no policy"):
        parse_policies([])
    (world / "m.model").unlink()
    with pytest.raises(UserError, match="model settings"):
        parse_policies([str(world / "base.weights")])


def test_a_chinese_prompt_has_the_english_ones_goal(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def encode(self: GoalEncoder, prompts: Sequence[str], **how: Any) -> Any:
        asked.extend(self.translate(prompt) for prompt in prompts)
        return {prompt: GOALS[self.translate(prompt)] for prompt in prompts}

    monkeypatch.setattr(GoalEncoder, "encode", encode)
    monkeypatch.setattr(GoalEncoder, "no_goal", GOALS[NO_GOAL])
    zh = evaluate(
        settings(world, "tuned", tasks=("dig_dirt",), language="zh", similarity=0),
        injected(goals=None),
    )
    assert asked == ["dig dirt"]
    assert zh.lines[0]["prompt"] == "挖泥土"
    assert zh.summary["rates"]["dig_dirt"]["tuned"]["successes"] == 4
    with pytest.raises(UserError, match="no prompt in"):
        evaluate(settings(world, "tuned", tasks=("swim",), language="zh"))


def test_weights_at_several_guidance_scales(world: Path) -> None:
    path = str(world / "base.weights")
    found = parse_policies([f"{path}@0", f"{path}@2.5", path])
    assert [each.name for each in found] == ["base@0", "base@2.5", "base"]
    assert [each.metadata.cond_scale for each in found] == [0.0, 2.5, 6.0]
    assert {each.weights for each in found} == {path}
    with pytest.raises(UserError, match="not found"):
        parse_policies([f"{path}@much"])


def test_equal_names_are_told_apart(world: Path) -> None:
    other = world / "sub"
    other.mkdir()
    for name in ("base.weights", "base.weights.json"):
        (other / name).write_bytes((world / name).read_bytes())
    names = [each.name for each in parse_policies([str(world / "base.weights"), str(other / "base.weights"), "random"])]
    assert len(set(names)) == 3
    assert names[1] == "sub/base"


@pytest.mark.e2e
def test_an_evaluation_over_processes_survives_a_killed_worker(world: Path, tmp_path: Path) -> None:
    """Floor players need no weights, so that real workers can be used: the log is complete and equal to one without trouble."""
    trouble = tmp_path / "trouble"
    trouble.mkdir()
    calm = evaluate(settings(world, "random", "nothing", folder=str(world / "calm")), injected(()))
    rough = evaluate(
        settings(world, "random", "nothing", folder=str(world / "rough"), workers=2),
        injected((), open_game=OpenFake(str(trouble))),
    )
    assert len(list(trouble.iterdir())) == 1

    def results(report: Any) -> list[Any]:
        return [(line["key"], line["seed"], line["success"], line["measure"]) for line in report.lines]

    assert results(rough) == results(calm)


@pytest.mark.e2e
@forks.needs_forkserver
def test_a_killed_evaluation_continues_and_plays_nothing_twice(world: Path, tmp_path: Path) -> None:
    folder = world / "killed"
    log = folder / "episodes.jsonl"
    for wanted in (1, 5, 9, 13, 17):
        process = forks.start(floors_played, str(folder), str(world / "suite.yaml"), log=tmp_path / "said")
        limit = time.monotonic() + 120
        while process.is_alive() and time.monotonic() < limit:
            if log.exists() and log.read_bytes().count(b"\n") >= wanted:
                break
            time.sleep(0.001)
        process.kill()
        process.join()
    process = forks.start(floors_played, str(folder), str(world / "suite.yaml"), log=tmp_path / "said")
    process.join(250)
    assert process.exitcode == 0, (tmp_path / "said").read_text()
    keys = [json.loads(line)["key"] for line in log.read_text().splitlines()]
    assert len(keys) == len(set(keys)) == 8 * 2 * 2
    assert (folder / "report.html").exists()


@pytest.mark.e2e
def test_throughput_counts_the_steps_that_were_played(world: Path) -> None:
    from benchmarks.evaluation import run

    figures = run("nothing", 1, 3, 50.0, injected(()))
    assert figures["playing_steps_per_s"] >= figures["steps_per_s"] > 0, "starting counts in one of them"
    assert figures["percent_of_game"] == pytest.approx(100 * figures["playing_steps_per_s"] / 50.0, abs=0.3)
    assert 0 <= figures["game_share"] <= 1
    assert not (world / "run").exists(), "a measurement leaves nothing of its own"
