"""What TensorBoard shows of a run: a description of each tag, the losses first, settings with results."""

from __future__ import annotations

from pathlib import Path

import pytest

from steve1.actions import BUTTONS
from steve1.training.logging.action_metrics import MEASURES
from steve1.training.logging.layout import CHARTS, FIRST, description, in_language

TAGS = [
    *(curve for chart in CHARTS for curve in chart.curves.values()),
    *(f"{where}/{measure}" for where in ("train", "validation", "retention") for measure in MEASURES),
    *(f"f1/{name}" for name in BUTTONS),
    *(f"{group}/{whose}" for group in ("camera_yaw_degrees", "buttons_by_number") for whose in ("recorded", "policy")),
    *("train/skipped_steps", "goal/error_none", "speed/seconds", "rollout/dig/distance", "first_batch", "actions"),
    *FIRST.values(),
]


@pytest.mark.parametrize("tag", TAGS)
def test_every_tag_is_described(tag: str) -> None:
    assert description(tag).endswith(".")


def test_an_unknown_tag_has_no_description() -> None:
    assert description("elsewhere/loss") == ""


def test_charts_speak_both_languages_and_name_their_axes(monkeypatch: pytest.MonkeyPatch) -> None:
    for language, chinese in (("en", False), ("zh", True)):
        monkeypatch.setenv("STEVE1_LANG", language)
        for chart in CHARTS:
            labels = [label for label in chart.curves if label and not label.startswith(("KL", "L2"))]
            for text in (chart.title, chart.note, *labels):
                assert any("一" <= letter <= "鿿" for letter in in_language(text)) is chinese
            assert in_language(chart.values)
            assert " · " in chart.values or chart.values == "MB", "in both languages"


@pytest.mark.e2e
def test_losses_come_first_and_settings_stand_beside_results(tmp_path: Path) -> None:
    """Read as TensorBoard's own server reads it."""
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.hparams import api_pb2, list_session_groups
    from tensorboard.plugins.hparams.backend_context import Context

    from steve1.training.logging.board import Board

    for run, rate in (("a", 1e-4), ("b", 1e-5)):
        board = Board(tmp_path / run)
        board.settings({"learning_rate": rate, "finetune_mode": "lora", "jitter": True})
        for step in (1, 2):
            board.curve("goal/true_minus_none", -0.1, step)
            board.curve("train/loss", 3.0 - step, step)
        board.curve("validation/loss", 1.25, 2)
        board.curve("retention/loss", 1.5, 2)
        board.settings({}, finished=True)
        board.close()
    multiplexer = EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(tmp_path))
    multiplexer.Reload()
    provider, context = MultiplexerDataProvider(multiplexer, str(tmp_path)), RequestContext()
    tags = provider.list_scalars(context, experiment_id="", plugin_name="scalars")["a"]
    assert {name: found.description for name, found in tags.items()} == {name: description(name) for name in tags}
    assert sorted(tags)[:3] == ["1 loss/training", "1 loss/validation", "1 loss/validation on old skills"]
    assert {"train/loss", "validation/loss"} <= set(tags), "the names of before are there still"
    hparams = Context(TBContext(data_provider=provider, logdir=str(tmp_path)))
    request = api_pb2.ListSessionGroupsRequest(slice_size=9, allowed_statuses=[api_pb2.STATUS_SUCCESS])
    groups = list_session_groups.Handler(context, hparams, "", request).run().session_groups
    assert sorted(group.hparams["learning_rate"].number_value for group in groups) == [1e-5, 1e-4]
    for group in groups:
        assert group.hparams["finetune_mode"].string_value == "lora"
        values = {found.name.tag: found.value for found in group.metric_values}
        assert values == {"train/loss": 1.0, "validation/loss": 1.25, "retention/loss": 1.5}
