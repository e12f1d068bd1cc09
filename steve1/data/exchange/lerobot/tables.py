"""The parquet files of LeRobot's datasets: frames, episodes and tasks, with the types and the metadata that its readers rely on."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1.core.errors import UserError, optional_package
from steve1.data.exchange.lerobot.schema import PICTURE
from steve1.data.exchange.lerobot.stats import NAMES, Stats

_EPISODE = {
    "episode_index": "int64",
    "length": "int64",
    "data/chunk_index": "int64",
    "data/file_index": "int64",
    "dataset_from_index": "int64",
    "dataset_to_index": "int64",
    f"videos/{PICTURE}/chunk_index": "int64",
    f"videos/{PICTURE}/file_index": "int64",
    f"videos/{PICTURE}/from_timestamp": "float64",
    f"videos/{PICTURE}/to_timestamp": "float64",
    "meta/episodes/chunk_index": "int64",
    "meta/episodes/file_index": "int64",
}


def arrow() -> ModuleType:
    """pyarrow; UserError without it."""
    return optional_package("pyarrow", "lerobot", "LeRobot's format")


def parquet() -> ModuleType:
    """pyarrow.parquet; UserError without it."""
    return optional_package("pyarrow.parquet", "lerobot", "LeRobot's format")


def frame_table(features: dict[str, dict[str, Any]], columns: dict[str, NDArray[Any]]) -> Any:
    """The pyarrow table of an episode's frames.

    Args:
        features: of the dataset; those of pictures have no column.
        columns: (N,) or (N, k) for each of the others.
    """
    pa = arrow()
    arrays, fields = [], []
    for name, feature in features.items():
        if feature["dtype"] == "video":
            continue
        values, kind = np.ascontiguousarray(columns[name]), pa.from_numpy_dtype(np.dtype(feature["dtype"]))
        if feature["shape"] == [1]:
            arrays.append(pa.array(values.reshape(-1), kind))
            fields.append(pa.field(name, kind))
        else:
            size = feature["shape"][0]
            arrays.append(pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1), kind), size))
            fields.append(pa.field(name, pa.list_(kind, size)))
    schema = pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": _described(features)}})})
    return pa.Table.from_arrays(arrays, schema=schema)


def _described(features: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The features as the `datasets` package describes them."""
    found: dict[str, Any] = {}
    for name, feature in features.items():
        value = {"dtype": feature["dtype"], "_type": "Value"}
        if feature["dtype"] != "video":
            whole = {"feature": value, "length": feature["shape"][0], "_type": "List"}
            found[name] = value if feature["shape"] == [1] else whole
    return found


def write_tasks(path: Path, tasks: dict[str, int]) -> None:
    """meta/tasks.parquet: text → number.

    LeRobot reads it with pandas and looks tasks up by the frame's index: without pandas' metadata, each frame's task would be a number.
    """
    pa, described = arrow(), {"task_index": "int64", "task": "unicode"}
    table = pa.table({"task_index": pa.array(tasks.values(), pa.int64()), "task": pa.array(tasks, pa.string())})
    columns = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": "int64" if kind == "int64" else "object", "metadata": None}
        for name, kind in described.items()
    ]  # fmt: skip
    index = {"name": None, "field_name": None, "pandas_type": "unicode", "numpy_type": "object"}
    pandas = {
        "index_columns": ["task"],
        "column_indexes": [index | {"metadata": {"encoding": "UTF-8"}}],
        "columns": columns,
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.3.3",
    }
    parquet().write_table(table.replace_schema_metadata({"pandas": json.dumps(pandas)}), path)


class EpisodeTable:
    """meta/episodes/chunk-000/file-000.parquet, written as episodes come; one row each."""

    def __init__(self, path: Path, shapes: dict[str, bool]) -> None:
        """`shapes`: by feature, whether its statistics are a picture's."""
        pa = arrow()
        fields = [pa.field(name, getattr(pa, kind)()) for name, kind in _EPISODE.items()]
        fields.insert(1, pa.field("tasks", pa.list_(pa.string())))
        for name, picture in shapes.items():
            values = pa.list_(pa.list_(pa.list_(pa.float64()))) if picture else pa.list_(pa.float64())
            for stat in NAMES:
                fields.append(pa.field(f"stats/{name}/{stat}", pa.list_(pa.int64()) if stat == "count" else values))
        self._schema = pa.schema(fields)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = parquet().ParquetWriter(path, self._schema, compression="snappy")
        self._rows: list[dict[str, Any]] = []

    def add(self, row: dict[str, Any], stats: dict[str, Stats]) -> None:
        """Append an episode."""
        flat = {f"stats/{name}/{stat}": each[stat].tolist() for name, each in stats.items() for stat in NAMES}
        self._rows.append({"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0} | row | flat)
        if len(self._rows) == 256:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(arrow().Table.from_pylist(self._rows, schema=self._schema))
            self._rows = []

    def close(self) -> None:
        """Write what is left."""
        self._flush()
        self._writer.close()


def read_table(path: Path, columns: list[str] | None = None) -> Any:
    """A parquet file's table, or these of its columns.

    Raises:
        UserError: it does not exist, is no parquet file, or lacks a column.
    """
    pq, pa = parquet(), arrow()
    try:
        return pq.read_table(path, columns=columns, partitioning=None)
    except FileNotFoundError:
        raise UserError("A file of this dataset is missing.", where=path, todo="download the dataset again") from None
    except (pa.ArrowException, OSError, ValueError, KeyError) as fault:
        got = " ".join(str(fault).split())[:200]
        raise UserError("This parquet file does not load.", where=path, got=got, todo="download it again") from None
