"""The run over all of them at once: it ends, the good ones are there, each bad one is named, and nothing else is left."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from steve1.core.errors import UserError
from steve1.data.episodes.episode import Episode
from steve1.data.recordings.convert import ConvertSettings
from steve1.data.recordings.convert_folder import convert_folder
from steve1.data.recordings.shards import alone_in
from steve1.data.recordings.summary import Summary
from tests.data.corpus import NOTED, REFUSED, Case, N, cases
from tests.data.makers import make_recording

CASES = list(cases())
GOOD = ["a_good", "m_good", "z_good"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Summary, dict[str, dict[str, object]], Path]:
    folder = tmp_path_factory.mktemp("corpus")
    source = make_recording(folder / "source", "good", N, width=64, height=36)
    (folder / "in").mkdir()
    for name in [*GOOD, *(case.name for case in CASES)]:
        for path in (source, source.with_suffix(".jsonl")):
            shutil.copy(path, folder / "in" / f"{name}{path.suffix}")
    for case in CASES:
        case.make(folder / "in" / f"{case.name}.mp4", folder / "in" / f"{case.name}.jsonl")
    summary = convert_folder(folder / "in", folder / "out", ConvertSettings())
    rows = [json.loads(line) for line in summary.report.read_text(encoding="utf-8").splitlines()]
    return summary, {Path(row["recording"]).name: row for row in rows}, folder


def test_there_are_a_hundred_and_more() -> None:
    assert len(CASES) >= 100
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.e2e
def test_the_good_ones_are_there(run: tuple[Summary, dict[str, dict[str, object]], Path]) -> None:
    _, rows, folder = run
    for name in GOOD:
        assert rows[f"{name}.mp4"]["status"] == "converted"
        assert rows[f"{name}.mp4"]["notes"] == []
        assert len(Episode(folder / "out" / name)) == N


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_bad_one_is_named_with_its_reason(
    run: tuple[Summary, dict[str, dict[str, object]], Path], case: Case
) -> None:
    summary, rows, _ = run
    row = rows[case.file or f"{case.name}.mp4"]
    said = str(row["reason"]) if case.status == REFUSED else " ".join(map(str, row["notes"]))  # type: ignore[call-overload]
    assert row["status"] == case.status, said
    assert said
    assert case.reason.lower() in said.lower()
    assert (case.file or case.name) in summary.text
    assert "Traceback" not in said


def test_nothing_half_written_is_left_and_nothing_was_executed(
    run: tuple[Summary, dict[str, dict[str, object]], Path],
) -> None:
    _, _, folder = run
    whole = {*GOOD, *(case.name for case in CASES if case.status == NOTED)}
    assert {path.name for path in (folder / "out").iterdir()} == whole | {"convert_report.jsonl", ".convert.lock"}
    for name in whole:
        Episode(folder / "out" / name).frames()
    assert not list(folder.rglob("executed"))
    assert not Path("executed").exists()


def test_a_second_run_makes_nothing_anew_and_two_at_once_do_not_meet(
    run: tuple[Summary, dict[str, dict[str, object]], Path],
) -> None:
    first, _, folder = run
    with alone_in(folder / "out"), pytest.raises(UserError, match="Another"):
        convert_folder(folder / "in", folder / "out", ConvertSettings())
    again = convert_folder(folder / "in", folder / "out", ConvertSettings())
    assert again.count("exists") == first.count("converted")
    assert again.count("refused") == first.count("refused")
