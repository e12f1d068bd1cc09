"""Pages as a browser lays them out, where there is one: on a phone nothing sticks out, and dark mode changes the colours."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from steve1.reporting.charts import Bar, bar_chart, grid, heat_map, histogram, line_chart
from steve1.reporting.html import element, tiles, video
from steve1.reporting.page import Report, Section, folded, note
from steve1.reporting.tables import Table

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.e2e, pytest.mark.skipif(BROWSER is None, reason="no chromium here")]
LONG = "data/weights/steve1/" + "a_rather_long_name_" * 6 + ".weights"


def everything() -> Report:
    """Each kind of block, with names as long as users' are."""
    series = {f"{LONG} {number}": [(step, step * number + 1.0) for step in range(9)] for number in range(10)}
    shares = {f"{LONG[:40]} {number}": [Bar(0.5, "5/10", (0.2, 0.8)), Bar(0.25)] for number in range(3)}
    charts = [
        line_chart(LONG, series, values="nats a frame", caption=LONG),
        bar_chart("bars", shares, names=("recorded", "policy"), axis=True, values="share", width=440),
        histogram("lengths", [1, 2, 5], "seconds"),
        heat_map(np.eye(11, dtype=np.int64), [float(n) for n in range(-5, 6)], "camera", title="Camera"),
    ]
    table = Table([f"column {number}" for number in range(12)], [[LONG, *range(11)]] * 2, caption=LONG, sortable=True)
    cards = element("div", *(element("div", element("b", "128"), LONG) for _ in range(6)), class_="cards")
    command = element("p", "Run: ", element("code", f"bash 5_evaluate.sh --weights {LONG}", class_="command"))
    films = tiles([video("missing.mp4", LONG, b"x")])
    return Report(
        LONG,
        [
            Section(
                LONG,
                [
                    LONG,
                    [LONG],
                    cards,
                    note(LONG),
                    grid(charts),
                    table,
                    command,
                    films,
                    folded(LONG, table.html(), unfolded=True),
                ],
            )
        ],
    )


def laid_out(folder: Path, width: int, *, dark: bool = False) -> dict[str, str]:
    """What the page measures in a window of that width."""
    (folder / "page.html").write_text(everything().html())
    script = (
        "var page = document.querySelector('iframe').contentDocument, root = page.documentElement;"
        "document.body.dataset.found = [root.scrollWidth, root.clientWidth, getComputedStyle(page.body).backgroundColor].join('|');"
    )
    (folder / "frame.html").write_text(
        f'<body><iframe src="page.html" style="width:{width}px;height:900px;border:0" onload="{script}"></iframe>'
    )
    command = [
        str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", f"--user-data-dir={folder / 'profile'}",
        "--window-size=1300,1000", "--virtual-time-budget=4000", f"--blink-settings=preferredColorScheme={0 if dark else 1}",
        "--dump-dom", f"file://{folder / 'frame.html'}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    found = re.search(r'data-found="(\d+)\|(\d+)\|([^"]+)"', done.stdout)
    assert found, done.stderr[-2000:]
    return {"scroll": found[1], "client": found[2], "ground": found[3]}


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_sticks_out(tmp_path: Path, width: int) -> None:
    found = laid_out(tmp_path, width)
    assert found["scroll"] == found["client"]


def test_dark_mode_is_dark(tmp_path: Path) -> None:
    light, dark = laid_out(tmp_path, 400)["ground"], laid_out(tmp_path, 400, dark=True)["ground"]
    assert light == "rgb(255, 255, 255)"
    assert sum(map(int, re.findall(r"\d+", dark)[:3])) < 120
