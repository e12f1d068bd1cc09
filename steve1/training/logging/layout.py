"""Room `training`, how TensorBoard lays a run out.

In: the run's record. Out: the page of custom charts (curves that belong together in one chart), the settings as a table, and histograms of
shares. Only what is drawn is decided here, not what is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

# Category → chart → curves, as regular expressions of their names.
LAYOUT: dict[str, dict[str, list[Any]]] = {
    "1 loss": {
        "training against validation and retention": [
            "Multiline",
            [r"^train/loss$", r"^validation/loss$", r"^retention/loss$"],
        ],
        "split, validation": ["Multiline", [r"^validation/loss_buttons$", r"^validation/loss_camera$"]],
        "split, training": ["Multiline", [r"^train/loss_buttons$", r"^train/loss_camera$"]],
        "accuracy, validation": ["Multiline", [r"^validation/accuracy_(buttons|camera)$"]],
    },
    "2 does it listen to the goal": {
        "true goal minus another window's, and minus none (below zero: it listens)": [
            "Multiline",
            [r"^goal/true_minus_(shuffled|none)$"],
        ],
        "loss with the true goal, another window's, none": [
            "Multiline",
            [r"^validation/loss$", r"^goal/loss_(shuffled|none)$"],
        ],
    },
    "3 actions": {
        "F1 by button": ["Multiline", [r"^f1/"]],
        "camera error in degrees": ["Multiline", [r"^validation/camera_error_(turning_)?degrees$"]],
        "entropy, validation": ["Multiline", [r"^validation/entropy_(buttons|camera)$"]],
    },
    "4 steps": {
        "gradient norm before clipping": ["Multiline", [r"^train/gradient_norm$"]],
        "share of steps clipped": ["Multiline", [r"^train/clipped_share$"]],
        "learning rate": ["Multiline", [r"^train/learning_rate$"]],
        "share of each source": ["Multiline", [r"^share/"]],
    },
    "5 speed": {
        "frames a second": ["Multiline", [r"^speed/frames_per_second$"]],
        "share of time spent waiting for data": ["Multiline", [r"^speed/data_wait_share$"]],
        "peak memory in MB": ["Multiline", [r"^speed/peak_memory_mb$"]],
    },
}


def settings_table(record: dict[str, Any]) -> str:
    """Everything that the run depends on, as Markdown tables."""
    parts = []
    for title, values in record.items():
        rows = "".join(f"| {name} | {_cell(value)} |\n" for name, value in values.items())
        parts.append(f"**{title}**\n\n| | |\n|---|---|\n{rows}")
    return "\n".join(parts)


def _cell(value: Any) -> str:
    return "`" + str(value).replace("|", "\\|").replace("`", "'") + "`" if value not in ("", None) else ""


def histogram(bins: Sequence[tuple[float, float]], total: int = 10_000) -> dict[str, Any]:
    """Arguments of `add_histogram_raw` for shares at given values: bins of (value, share), by value."""
    values = np.array([value for value, _ in bins], dtype=np.float64)
    counts = np.array([share for _, share in bins], dtype=np.float64) * total
    edges = (values[1:] + values[:-1]) / 2
    half = (values[-1] - values[-2]) / 2
    return {
        "min": float(values[0]),
        "max": float(values[-1]),
        "num": float(counts.sum()),
        "sum": float(counts @ values),
        "sum_squares": float(counts @ values**2),
        "bucket_limits": [*edges.tolist(), float(values[-1] + half)],
        "bucket_counts": counts.tolist(),
    }
