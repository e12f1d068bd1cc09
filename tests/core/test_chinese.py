"""Help and errors in Chinese: what there is, that it fits the English, and how it is shown."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import pickle
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from steve1.__main__ import COMMANDS, overview
from steve1.commands.tools import doctor
from steve1.core import messages
from steve1.core.errors import UserError
from steve1.core.messages import heading, padded, script_line, some, translated, wide, wrap
from steve1.core.options import CommandLine
from steve1.core.paths import ROOT
from steve1.reporting.tables import Table
from steve1.training.memory.estimate import Memory
from tests.texts import (
    PARTS,
    SCRIPT_WORDS,
    console_lines,
    errors,
    everything,
    faults,
    given_to,
    headings,
    help_texts,
    parsed,
    reasons,
    script_lines,
    studies,
    warnings,
)

FOLDER = Path(messages.__file__).with_name("chinese")
TABLES: dict[str, dict[str, str]] = {file.stem: json.loads(file.read_text("utf-8")) for file in FOLDER.glob("*.json")}
APART = ("scripts", "headings")
ALL = {english: chinese for name, table in TABLES.items() for english, chinese in table.items() if name not in APART}
EVERY_SCRIPT = "\n".join(path.read_text("utf-8") for path in ROOT.rglob("*.sh") if ".venv" not in path.parts)
#: names, formulas and commands, alike in both languages
ALIKE = {
    "0 <= start < end",
    "0 <= start < stop <= {0}",
    "0 <= start <= stop <= {0}",
    '[frame, "mine_block:dirt"]',
    '{"basedir": …, "relpaths": […]}',
    "{to: dig dirt, against: [explore, swim]}",
    "{0}, actions.{1}",
    "docker run --shm-size=1g …",
    "lsof -i :{0}",
    "int64 (N+1,)",
    "nvidia-smi -q | less",
    "rm -rf .venv && {0}",
    "rm -rf {0} && {1}",
    "{0} {1} --precision fp32",
    "rm {0} && bash 0_download_weights.sh {1}",
    "unset CUDA_VISIBLE_DEVICES",
    "ffmpeg -i IN -vf zscale=t=linear:npl=100,tonemap=hable,zscale=t=bt709:m=bt709:r=tv,format=yuv420p OUT.mp4",
}
#: lines of training that the users' guide shows as they are
OF_THE_GUIDE = {
    "  rollout @ step {0}: {1}: {2}: {3}",
    "Validation @ step {0}: Loss={1}",
    " (best so far)",
    "Retention @ step {0}: Loss={1}",
    "Saved checkpoint: {0}",
}
#: titles that are names, alike in both languages
UNTRANSLATED = {"alpha", "cond_scale", "trunc_t", "GiB", "p (Holm)", "{0} loss", "B x TRUNC_T"}


@pytest.fixture(autouse=True, scope="module")
def no_tree_stays() -> Iterator[None]:
    """The source is parsed once for all tests here."""
    yield
    parsed.cache_clear()


@pytest.fixture
def chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEVE1_LANG", "zh")


@pytest.mark.parametrize("part", ["help", *PARTS])
def test_help_and_errors_are_in_chinese(part: str) -> None:
    found = {text: place for text, place in (help_texts() if part == "help" else errors()[part]).items() if text}
    assert len(found) > 20
    missing = [f"{place}: {text}" for text, place in found.items() if text not in ALL and text not in ALIKE]
    assert not missing, "no Chinese in core/chinese/*.json:\n" + "\n".join(missing)


def test_studies_and_benchmarks_are_among_them() -> None:
    assert {"research.paper_videos", "research.measure_methods.__main__", "benchmarks.__main__"} <= studies().keys()
    assert "Measure one part of the project on this machine." in help_texts()
    assert errors()["what"]["There is no such benchmark."].startswith("benchmarks/__main__.py:")
    assert console_lines()["labels: {0}"] == (
        f"research/idm_proof.py:{console_lines()['labels: {0}'][0].split(':')[1]}",
        True,
    )
    assert headings()["nearest demonstration"][1]


def test_console_lines_are_in_chinese() -> None:
    found = console_lines()
    assert len(found) > 80
    missing = [
        f"{place}: {text!r}"
        for text, (place, shown) in found.items()
        if not (shown and text in ALL) and text not in OF_THE_GUIDE
    ]
    assert not missing, "neither in MESSAGES nor translated(…) with Chinese in core/chinese/lines.json:\n" + "\n".join(
        missing
    )
    assert found.keys() >= OF_THE_GUIDE


def test_what_is_given_to_be_translated_has_chinese() -> None:
    found = given_to("translated")
    assert len(found) > 150
    missing = [f"{place}: {text!r}" for text, place in found.items() if text not in ALL]
    assert not missing, "translated(…) without Chinese in core/chinese/*.json:\n" + "\n".join(missing)


def test_what_is_wrong_with_settings_is_in_chinese() -> None:
    found = faults()
    assert len(found) > 60
    missing = [f"{place}: {text!r}" for text, place in found.items() if text not in ALL]
    assert not missing, "no Chinese in core/chinese/errors.json:\n" + "\n".join(missing)


def test_reasons_and_findings_are_in_chinese() -> None:
    found = reasons()
    assert len(found) > 150
    missing = [f"{place}: {text!r}" for text, place in found.items() if text not in ALL and text not in ALIKE]
    assert not missing, "no Chinese in core/chinese/errors.json:\n" + "\n".join(missing)


def test_a_new_reason_in_english_is_found(tmp_path: Path) -> None:
    (tmp_path / "new.py").write_text(
        'def a():\n    why = f"its {x} is gone"\n    notes.append(why)\n'
        'def b():\n    left_out.append((path, "it cannot be opened"))\n    raise RefusedError("it calls itself")\n'
        'def c_fault():\n    return f"it is a {x}" if x else ""\n'
        'def d():\n    return "for nobody to read"\n'
    )
    assert list(reasons(tmp_path)) == ["its {0} is gone", "it cannot be opened", "it calls itself", "it is a {0}"]


def test_warnings_are_in_chinese() -> None:
    found = warnings()
    assert len(found) > 15
    missing = [f"{place}: {text!r}" for text, place in found.items() if re.search("[a-z]{3}", text) and text not in ALL]
    assert not missing, "no Chinese in core/chinese/lines.json:\n" + "\n".join(missing)


def test_a_warning_is_shown_in_chinese(chinese: None, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = logging.Handler()
    monkeypatch.setattr(logging, "lastResort", shown)
    messages.translate_warnings()
    text = "%s holds %.0f MB: a fresh game is started before this episode"
    record = logging.LogRecord("steve1", logging.WARNING, "", 0, text, ("luanti", 12.3), None)
    assert shown.format(record) == "luanti 占用 12 MB：这一局之前重新启动游戏"


def test_a_new_console_line_in_english_is_found(tmp_path: Path) -> None:
    (tmp_path / "new.py").write_text(
        'say(f"{n} files done")\nprint("all " + translated("was read"))\nprint(message("report", path=1), f"{n} {m}")\n'
    )
    assert {text: shown for text, (_, shown) in console_lines(tmp_path).items()} == {
        "{0} files done": False,
        "all ": False,
        "was read": True,
    }


def test_tables_and_pictures_are_in_chinese() -> None:
    found = headings()
    assert len(found) > 90
    missing = [
        f"{place}: {text!r}"
        for text, (place, shown) in found.items()
        if not (shown and (text in TABLES["headings"] or ("{0}" in text and text in ALL))) and text not in UNTRANSLATED
    ]
    assert not missing, "without Chinese in core/chinese/headings.json, or without .translated():\n" + "\n".join(
        missing
    )
    assert found.keys() >= UNTRANSLATED


def test_a_new_table_in_english_is_found(tmp_path: Path) -> None:
    (tmp_path / "new.py").write_text(
        'def a():\n    head = ["task", *names]\n    return Table(head, rows)\n'
        'def b():\n    found = Table(["share", heading("kept")], rows)\n    print(found.translated().console())\n'
        'def c():\n    rows.append({"from": 1})\n    return Table.of(rows)\n'
        'def d():\n    return Table.of([{"to": 1}]).translated()\n'
        'def e():\n    return Table(["for_programs"], rows).csv()\n'
    )
    shown = {text: shown for text, (_, shown) in headings(tmp_path).items()}
    assert shown == {"task": False, "share": True, "kept": True, "from": False, "to": True}


def test_no_heading_is_of_a_text_that_is_gone() -> None:
    memory = {field.name.replace("_", " ") for field in dataclasses.fields(Memory)}
    assert not TABLES["headings"].keys() - everything() - memory


def test_a_heading_is_chinese_alone_and_not_inside_an_error(chinese: None) -> None:
    assert heading("weights") == "权重"
    assert translated("a.yaml: weights is wrong") == "a.yaml: weights 有误"
    assert str(UserError("The file is damaged.", got="weights")).endswith("weights")


def test_columns_are_as_wide_as_chinese_letters(chinese: None) -> None:
    table = Table(["method", "hours"], [["everything", 14.3], ["--lora", 0.6]], {"hours": ".1f"}).translated()
    assert table.console() == "方式        小时\neverything  14.3\n--lora       0.6"
    assert table.markdown().startswith("| 方式 | 小时 |")
    assert {wide(line) for line in table.console().splitlines()} == {16}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_states_are_padded_alike(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEVE1_LANG", language)
    found = [doctor.Finding("Disk", state, "x" * 9) for state in ("ok", "info", "warn", "fail")]
    lines = doctor.text(found).splitlines()[:4]
    assert {wide(line) for line in lines} == {6 + 19 + 9}
    assert padded("注意", 8) == "注意    "


def test_console_lines_are_shown_in_chinese(chinese: None) -> None:
    assert translated("3 files pulled to data/x, 1 were there already") == "已拉取 3 个文件到 data/x，1 个原已存在"
    assert translated("\nseed 7: 20 steps in 1.5 s (13 steps/s), ended early (death)") == (
        "\n种子 7：20 步，用时 1.5 秒（每秒 13 步），提前结束（death）"
    )
    assert "数据:" in overview().splitlines()


def test_no_translation_is_of_a_text_that_is_gone() -> None:
    found = set(help_texts()) | everything()
    stale = [english for english in ALL if english not in found and english.removeprefix("{0}") not in found]
    assert not stale


def test_the_help_of_scripts_is_chinese(chinese: None) -> None:
    found = script_lines()
    assert len(found) > 150
    missing = {line: script for line, script in found.items() if script_line(line).endswith(SCRIPT_WORDS.sub("", line))}
    assert not {line: script for line, script in missing.items() if "|" not in line}, "only choices stay as they are"
    assert script_line("  needs: the network, or a mirror") == "  需要:  网络，或镜像"
    assert script_line("    SEED=0   # seed of the split") == "    SEED=0   # 划分的随机种子"
    assert script_line('    WEIGHTS=   # e.g. "a b"') == '    WEIGHTS=   # 例如 "a b"'
    assert script_line("    SEED=0") == "    SEED=0"
    stale = [
        english for english in TABLES["scripts"] if not all(own in EVERY_SCRIPT for own in re.split(r"\{\d\}", english))
    ]
    assert not stale


def test_a_script_prints_its_help_in_chinese() -> None:
    words = ["bash", "2_create_sampling.sh", "--help"]
    done = subprocess.run(words, cwd=ROOT, env=os.environ | {"STEVE1_LANG": "zh", "LC_ALL": "C"}, capture_output=True)
    said = done.stdout.decode()
    assert said.startswith("写出训练片段和验证片段的列表。\n  需要:  数据集（1_generate_dataset.sh"), said[:500]
    assert "    VAL_LIST=   # 或固定的验证片段列表\n" in said
    assert "\n选项:\n" in said


def test_translations_keep_what_is_filled_in_and_every_flag() -> None:
    for english, chinese in ALL.items():
        for kind in (r"\{\d\}", r"--\w+", r"\b[A-Z][A-Z_]{3,}="):
            assert sorted(set(re.findall(kind, english))) == sorted(set(re.findall(kind, chinese))), (english, chinese)
        assert not re.search("[\u4e00-\u9fff] ?[,;!?](?! )|[\u4e00-\u9fff]\\.(\\s|$)", chinese), (
            f"half-width sign: {chinese}"
        )


def filled(text: str) -> str:
    return re.sub(r"\{(\d)\}", lambda number: f"9{number[1]}", text)


def test_no_form_hides_another(chinese: None) -> None:
    hidden = {
        english: translated(filled(english)) for english in ALL if translated(filled(english)) != filled(ALL[english])
    }
    assert not hidden


def test_an_error_is_shown_in_the_users_language_and_stays_english_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEVE1_LANG", "zh")
    fault = pickle.loads(
        pickle.dumps(
            UserError("This sampling list does not exist.", where="a.txt", expected="at least 8 frames", got="9", todo="choose another name")
        )
    )  # fmt: skip
    assert (
        str(fault)
        == "此采样列表不存在。\n  位置:     a.txt\n  应为:     至少 8 帧\n  实际:     9\n  下一步:   换一个名称"
    )
    assert fault.one_line == "此采样列表不存在；位置：a.txt；应为：至少 8 帧；实际：9；下一步：换一个名称"
    assert fault.changed(str.upper).what == "此采样列表不存在。"
    assert fault.what == "This sampling list does not exist."
    assert str(UserError("A sentence without Chinese.")) == "A sentence without Chinese."
    monkeypatch.setenv("STEVE1_LANG", "en")
    assert str(fault).startswith("This sampling list does not exist.\n  where:    a.txt\n  expected: at least 8 frames")


def test_what_is_filled_in_is_chinese_too(chinese: None) -> None:
    assert translated("This chain of prompts is not YAML.") == "此提示词链不是 YAML。"
    assert translated("The game died too often; the run stops here.") == "游戏崩溃次数过多，运行到此为止。"
    assert translated("Workers died too often; the run stops here.") == "工作进程崩溃次数过多，运行到此为止。"
    assert (
        translated("the game died (x); restart 1 of 3, same seed")
        == "游戏崩溃（x）；第 1 次重启（最多 3 次），随机种子不变"
    )
    assert translated("worker 0 ended with code -9: replaced (1 of 5), its job is repeated") == (
        "工作进程 0：已结束，退出码 -9；已更换（第 1 次，最多 5 次），它的任务会重做"
    )
    assert translated("1 episode") == "1 个片段"
    assert translated(f"skipped x: {some(list('abcde'))}") == "跳过 x：a, b, c，另有 2 个"
    assert translated("a.npz, frame 12") == "a.npz，第 12 帧"
    assert translated("2,000 frames computed") == "已计算 2,000 帧"
    assert translated("a film of frames") == "a film of frames"
    assert translated("frame a picture") == "frame a picture"
    assert translated("This {x} is odd.") == "This {x} is odd."


def test_a_blank_stands_between_latin_and_chinese_and_none_between_chinese(chinese: None) -> None:
    assert translated("2 of 3 episodes without features: 9 frames, 1 GB") == "3 个片段中的 2 个没有特征：9 帧，1 GB"
    assert (
        translated("This file is a gzip archive, but its name ends in .mp4.")
        == "此文件是 gzip 压缩包，但名称以 .mp4 结尾。"
    )
    assert translated("This file is a picture, but its name ends in .mp4.") == "此文件是图片，但名称以 .mp4 结尾。"
    assert translated("/录像/a exists already") == "/录像/a 已存在"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_help_fits_a_hundred_columns(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from steve1.commands.train.train import Args

    monkeypatch.setenv("STEVE1_LANG", language)
    monkeypatch.setenv("COLUMNS", "100")
    lines = CommandLine(Args, "x", COMMANDS["train"]["train"]).help().splitlines()
    assert max(map(wide, lines)) <= 100
    assert not [line for line in lines if re.match(r"\s+[，。；：）]", line)]
    told = (
        "每个进程每批的窗口数（BATCH_SIZE）。（默认：8）"
        if language == "zh"
        else "Windows per batch and process (BATCH_SIZE). (default: 8)"
    )
    assert any(line.endswith(told) for line in lines)


def test_the_overview_is_chinese(chinese: None) -> None:
    assert "  convert               把录像（mp4 + jsonl）转换为训练用的片段。" in overview().splitlines()


def test_lines_end_between_chinese_letters_and_not_inside_a_word() -> None:
    assert wrap("把录像转换为 dataset 的片段，再训练。", 14) == ["把录像转换为", "dataset 的片", "段，再训练。"]
    assert wrap("one two  three\nfour", 9) == ["one two", "three", "four"]
    assert wrap("  ", 9) == []
