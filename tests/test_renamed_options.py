"""Runs that began under earlier names of options."""

from __future__ import annotations

from typing import Any

from onestroke.training.renames import renamed
from tests.running import composed


def test_a_config_of_before_becomes_todays() -> None:
    today = composed("loss.shift_consistency.weight=0.25", "adapt=controls")
    before: dict[str, Any] = {**today, "adapt": "dials", "edges": 0.25}
    del before["vary"]  # which there was not
    before["network"] = {("dials" if key == "controls" else key): value for key, value in today["network"].items()}
    terms = {key: term for key, term in today["loss"].items() if key in ("content", "gram")}
    grid = {**today["loss"]["checkerboard"], "_target_": "onestroke.losses.grid.Grid"}
    before["loss"] = {**terms, "grid": grid}
    assert renamed(before) == today
    assert list(renamed(before)["loss"]) == list(today["loss"])  # terms are added up in this order


def test_todays_config_and_what_is_none_stay_as_they_are() -> None:
    today = composed()
    assert renamed(today) == today
    for loss in (None, 5, {"grid": 3}):
        assert renamed({"loss": loss, "network": loss})["network"] == loss


def test_an_earlier_run_without_the_term_goes_on_without_it() -> None:
    assert "shift_consistency" not in renamed({"loss": {"gram": {}}, "edges": None})["loss"]
