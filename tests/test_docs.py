"""What the documentation says exists: links, scripts, flags, variables and Python names in README*.md and docs/; Chinese pages keep step."""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
import shlex
import tomllib
import typing
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from steve1.__main__ import COMMANDS
from steve1.core.messages import MESSAGES

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("README*.md"), *ROOT.glob("docs/**/*.md")])
# Chinese pages, with their English ones.
CHINESE = {page: page.parents[1] / page.name for page in sorted(ROOT.glob("docs/guides/zh/*.md"))} | {
    page: page.with_name(page.name.replace(".zh-CN", "")) for page in sorted(ROOT.glob("docs/*.zh-CN.md"))
}
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", flags=re.S | re.M)
# Copies of the template that the reader makes.
OWN_COPY = re.compile(r"^3_train_(my_task|finetune_buildhouse)\.sh$")
# Messages of the tables of errors with something filled in, and the text of the program that they are.
FILLED = {
    "3 training settings cannot work: 1. …": "{count:training setting} cannot work:",
    "in_weights does not exist": "{0} does not exist: {1}",
    "the training list … does not exist": "the {0} list {1} does not exist ({2}); {3} makes one",
    "needs Java 8": "{0} needs Java {1}.",
    "The wrong version of minerl": "The wrong version of {0} is installed: {1}.",
    "The game minerl does not run any more": "The game {0} does not run any more.",
    "The game died too often": "{0} died too often; the run stops here.",
}
RUNNERS = ("bash", "python", "python3", ".venv/bin/python")


def prose(page: Path) -> str:
    """A page without its fenced blocks and code spans."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S))


def anchors(page: Path) -> set[str]:
    """The names that a link to a page can end in: its headings, and the ids set with `<a id="…">`."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    heads = re.findall(r"^#+\s+(.*)$", text, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads} | set(
        re.findall(r'<a id="([^"]+)">', text)
    )


def commands(page: Path) -> list[list[str]]:
    """The words of each command of ours on a page: lines of bash blocks, and code spans that begin with a runner."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", text, flags=re.S)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`([^`\n]*)`", re.sub(r"```.*?```", "", text, flags=re.S))
    found = []
    for line in lines:
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # a span that is no command
            continue
        rest = [word for word in words if not re.match(r"^[A-Z_]+=", word)]
        if len(rest) > 1 and rest[0] in RUNNERS and "…" not in rest[1]:
            found.append(words)
    return found


def split(words: list[str]) -> tuple[list[str], str, list[str]]:
    """(variables set in front, script or module, what follows)."""
    variables = [word.partition("=")[0] for word in words if re.match(r"^[A-Z_]+=", word)]
    rest = [word for word in words if not re.match(r"^[A-Z_]+=", word)][1:]
    if rest[:2] == ["-m", "steve1"] and not re.match(
        r"-|[A-Z]", rest[2]
    ):  # not the list of commands, or COMMAND for any
        return variables, f"steve1 {rest[2].replace('-', '_')}", rest[3:]
    if rest[0] == "-m":
        path = rest[1].replace(".", "/")
        return variables, f"{path}/__main__.py" if (ROOT / path).is_dir() else f"{path}.py", rest[2:]
    return variables, rest[0], rest[1:]


@cache
def script_text(path: str) -> str:
    """A script's text, followed by that of the script that it hands over to."""
    text = (ROOT / path).read_text(encoding="utf-8")
    following = re.search(r"^exec bash (\S+\.sh)", text, flags=re.M)
    return text + (script_text(following[1]) if following else "")


@cache
def settings_class(path: str) -> type | None:
    """The dataclass behind a command's or script's options; None where a shell script reads its arguments itself."""
    if path.startswith(("research/", "benchmarks/")):
        return importlib.import_module(path.removesuffix(".py").replace("/", ".")).Args  # type: ignore[no-any-return]
    if path.startswith("steve1 "):
        return command_class(path.split()[1])
    text = script_text(path)
    research = re.findall(r"^exec .*-m (research\.\w+)", text, flags=re.M)
    if research:
        return importlib.import_module(research[-1]).Args  # type: ignore[no-any-return]
    names = re.findall(r"^exec .*-m steve1 (\w+)", text, flags=re.M) or re.findall(
        r'^    main\("(\w+)"\)', text, flags=re.M
    )
    return command_class(names[-1]) if names else None


def command_class(name: str) -> type:
    """`Args` of a command of the program."""
    group = next(group for group, known in COMMANDS.items() if name in known)
    return importlib.import_module(f"steve1.commands.{group}.{name}").Args  # type: ignore[no-any-return]


def exists(script: str) -> bool:
    """Whether this is a file of ours or a command of the program."""
    return (ROOT / script).is_file() or any(script == f"steve1 {name}" for known in COMMANDS.values() for name in known)


@cache
def flags(path: str) -> frozenset[str]:
    """Every flag that a script takes."""
    arguments = settings_class(path)
    if arguments is None:
        return frozenset(re.findall(r"--[a-z][a-z_]*", script_text(path)))
    return frozenset(flags_of(arguments))


def flags_of(arguments: type) -> set[str]:
    """Every flag that the fields of a dataclass make, those of settings inside it too."""
    hints = typing.get_type_hints(arguments, include_extras=True)
    known = {"--help"}
    for field in dataclasses.fields(arguments):
        hint = hints[field.name]
        if dataclasses.is_dataclass(inner := getattr(hint, "__origin__", hint)):
            known |= flags_of(inner)  # type: ignore[arg-type]
            continue
        known |= {f"--{field.name}", *aliases(hint)}
        if hint is bool:
            known.add(f"--no_{field.name}")
    return known


def aliases(hint: Any) -> list[str]:
    """Other names of a flag."""
    return [name for note in getattr(hint, "__metadata__", ()) for name in getattr(note, "aliases", None) or ()]


def where(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_the_pages_are_found_and_hold_commands() -> None:
    assert {"README.md", "README.zh-CN.md", "docs/README.md"} <= {where(page) for page in PAGES}
    assert sum(len(commands(page)) for page in PAGES) > 60
    assert "--text_prompt" in flags("2_gen_vid_for_text_prompt.sh")
    assert {"--prompt", "--no_overwrite"} <= flags("run_agent/run_agent.py")
    assert "--weight_decay" in flags("3_train_finetune_mixed.sh")
    assert "--nonsense" not in flags("5_evaluate.sh")


@pytest.mark.parametrize("page", PAGES, ids=where)
def test_relative_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"^[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=where)
def test_commands_name_files_that_exist(page: Path) -> None:
    missing = []
    for words in commands(page):
        _, script, _ = split(words)
        third_party = "-m" in words and not script.startswith(("steve1", "research/", "benchmarks/"))
        if not third_party and not OWN_COPY.match(script) and not exists(script):
            missing.append(" ".join(words))
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=where)
def test_flags_and_variables_are_those_of_the_scripts(page: Path) -> None:
    wrong = []
    for words in commands(page):
        variables, script, rest = split(words)
        script = "3_train_finetune_template.sh" if OWN_COPY.match(script) else script
        if not exists(script):
            continue
        wrong += [f"{script} {word}" for word in rest if word.startswith("--") and word not in flags(script)]
        if script.endswith(".sh"):
            known = set(re.findall(r"\$\{([A-Z_]+):", script_text(script))) | {"PYTHON"}
            wrong += [f"{name}=… {script}" for name in variables if name not in known]
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=where)
def test_python_examples_parse_and_use_public_names(page: Path) -> None:
    import ast

    import steve1

    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.S):
        tree = ast.parse(block)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "steve1":
                assert node.attr in steve1.__all__


def test_the_picture_of_the_architecture_shows_the_layers_of_the_import_rules() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(contract["layers"] for contract in contracts if contract["name"] == "packages import downwards")
    picture = (ROOT / "docs/pictures/architecture.svg").read_text(encoding="utf-8")
    rows: dict[int, set[str]] = {}
    for y, name in re.findall(r'y="(\d+)" class="n">([^<]+)<', picture):
        rows.setdefault(int(y), set()).add(name.removesuffix(".py"))
    assert [rows[y] for y in sorted(rows)] == [{*layer.replace("steve1.", "").split(" | ")} for layer in layers]


@cache
def said_by_the_program() -> dict[str, str]:
    """Every error and message in English, with its Chinese."""
    errors: dict[str, str] = json.loads((ROOT / "steve1/core/chinese/errors.json").read_text(encoding="utf-8"))
    return errors | {message["en"]: message["zh"] for message in MESSAGES.values()}


def in_order(shown: str, text: str) -> bool:
    """Whether the words between the "…" of a shown message stand in a text of the program, one after the other."""
    parts = [re.escape(part.strip()) for part in shown.split("…") if part.strip()]
    return re.search(".*".join(parts), text, flags=re.S) is not None


def messages_in_tables(page: Path) -> list[tuple[str, str]]:
    """The messages of a page's tables of errors, each with the Chinese behind it: "`English`<br>Chinese"."""
    tables = re.findall(
        r"^\| (?:message|symptom|消息|现象) \|.*\n((?:\|.*\n)+)", page.read_text(encoding="utf-8"), flags=re.M
    )
    cells = [row.split(" | ")[0] for table in tables for row in table.splitlines()[1:]]
    found = [each for cell in cells for each in re.findall(r"`([^`]+)`(?:<br>([^<`|]+))?", cell)]
    return [(english, chinese.strip()) for english, chinese in found if " " in english]


def test_messages_in_tables_are_those_of_the_program() -> None:
    known, wrong, pages = said_by_the_program(), [], 0
    for page in PAGES:
        pages += bool(found := messages_in_tables(page))
        for english, chinese in found:
            texts = [FILLED[english]] if english in FILLED else [text for text in known if in_order(english, text)]
            if not texts or texts[0] not in known:
                wrong.append(f"{where(page)}: {english}")
            elif page in CHINESE and not chinese:
                wrong.append(f"{where(page)}: {english}: without its Chinese")
            elif chinese and english not in FILLED and not any(in_order(chinese, known[text]) for text in texts):
                wrong.append(f"{where(page)}: {chinese}")
    assert pages == 6
    assert not wrong


def test_the_two_readmes_keep_step() -> None:
    english, chinese = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md"))

    def skeleton(text: str) -> dict[str, Any]:
        return {
            "headings": len(re.findall(r"^#+ ", text, flags=re.M)),
            "table rows": len(re.findall(r"^\|", text, flags=re.M)),
            "points": len(re.findall(r"^\* ", text, flags=re.M)),
            "scripts": sorted(re.findall(r"[\w/]+\.(?:sh|py)\b", text)),
            "pictures": re.findall(r"!\[[^]]*\]\(([^)]*)\)", text),
        }

    assert skeleton(english) == skeleton(chinese)


def sections(page: Path) -> list[dict[str, Any]]:
    """What two languages of a page must share, heading by heading: level, code, tables, links, code spans and numbers."""
    text = page.read_text(encoding="utf-8")
    blocks = [(match[1], match[2]) for match in FENCE.finditer(text)]
    # A heading is no line of a block: blocks are set aside, and a mark stands for each.
    parts = re.split(r"^(#+ .*)$", FENCE.sub("\0", text), flags=re.M)
    found = []
    for head, body in zip(["", *parts[1::2]], parts[::2], strict=True):
        code, blocks = blocks[: body.count("\0")], blocks[body.count("\0") :]
        spans = re.findall(r"`([^`\n]+)`", body)
        plain = re.sub(r"`[^`\n]+`|\]\([^)]*\)|<[^>]*>", "", head + body)
        found.append(
            {
                "heading": head,
                "level": head.count("#", 0, head.find(" ")),
                "code": [code_without_comments(language, block) for language, block in code],
                "table cells": [
                    row.count("|") for row in re.findall(r"^\|.*", re.sub(r"`[^`\n]+`", "", body), flags=re.M)
                ],
                "links": Counter(linked(page, target) for target in re.findall(r"\]\(([^)\s]+)\)", body)),
                "code spans": Counter(spans),
                "numbers": Counter(re.findall(r"\d(?:[\d,.]*\d)?", plain)),
            }
        )
    return found


def code_without_comments(language: str, block: str) -> list[str]:
    """A block's lines without what is said in the reader's language; of a console's output only the numbers stay."""
    if language == "text":
        return [" ".join(sorted(re.findall(r"\d+", line))) for line in block.splitlines()]
    lines = re.sub(r"(^|\s)// .*" if language == "gradle" else r"(^|\s)# .*", "", block, flags=re.M)
    return [line.strip() for line in lines.splitlines() if line.strip()]


def linked(page: Path, target: str) -> str:
    """A link's file without its anchor; the same for a page in either language."""
    path = target.partition("#")[0]
    if re.match(r"^[a-z]+:", target):
        return target
    file = where((page.parent / path).resolve() if path else page)
    return file.replace("docs/guides/zh/", "docs/guides/").replace(".zh-CN.md", ".md").replace("_zh.jpg", ".jpg")


def test_the_guides_exist_in_chinese() -> None:
    names = {"STEVE1_FINETUNING_QUICKSTART.md", "STEVE1_EVALUATION_GUIDE.md", "INSTALL_MINECRAFT.md"}
    assert names <= {page.name for page in CHINESE}


@pytest.mark.parametrize("page", CHINESE, ids=where)
def test_a_chinese_page_keeps_step_with_the_english_one(page: Path) -> None:
    english, chinese = sections(CHINESE[page]), sections(page)
    assert [part["level"] for part in chinese] == [part["level"] for part in english], "one has a heading more"
    behind = []
    for ours, theirs in zip(chinese, english, strict=True):
        place = f"{theirs['heading']} ({ours['heading']})"
        for kind in ("code", "table cells"):
            if ours[kind] != theirs[kind]:
                behind.append(f"{place}: {kind}: {ours[kind]} instead of {theirs[kind]}")
        for kind in ("links", "code spans"):
            if ours[kind] != theirs[kind]:
                missing, more = (
                    list((theirs[kind] - ours[kind]).elements()),
                    list((ours[kind] - theirs[kind]).elements()),
                )
                behind.append(f"{place}: {kind}: missing {missing}, too many {more}")
        # Chinese may need a number where English has a word, such as a month.
        if missing := list((theirs["numbers"] - ours["numbers"]).elements()):
            behind.append(f"{place}: numbers: missing {missing}")
    assert not behind, "\n".join(behind)


def test_a_change_of_the_english_page_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"

    def parts(text: str) -> dict[str, Any]:
        page.write_text(text, encoding="utf-8")
        return sections(page)[-1]

    block = "```{language}\n{code}\n```\n"
    bash, text = block.format(language="bash", code="ls  # all {}"), block.format(language="text", code="{} of 6")
    english = parts("# Head\nRun `ls` 3 times.\n" + bash.format("files") + text.format("3"))
    assert english["code"] == [["ls"], ["3 6"]]
    assert english["level"] == 1
    assert parts("# 标题\n运行 3 次 `ls`。\n" + bash.format("文件") + "```text\n6 局中 3 局\n```\n") == english | {
        "heading": "# 标题"
    }
    assert parts("# Head\nRun `ls` 4 times.\n")["numbers"] != english["numbers"]
    assert parts("# Head\n" + bash.format("files") + text.format("4"))["code"] != english["code"]
