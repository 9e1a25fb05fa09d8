"""The controls of a performance: by hand and by a mapping, they paint as a Stylizer with the same settings."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onestroke.errors import UserError
from onestroke.inference.controls import StyleControls
from onestroke.inference.stylizer import Stylizer
from onestroke.live.figures import Figures, Report
from onestroke.live.mapping import Route, SignalMap
from onestroke.live.performance import Performance
from tests.test_live import NAMES, Bytes, apart, photo, written


@pytest.fixture(scope="module")
def style(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("stage") / "all.safetensors", controls=("strength", "stroke"))


def painted(performance: Performance, **signals: float) -> Bytes:
    """The next frame, long after the last one."""
    named = {name.replace("_", "."): value for name, value in signals.items()}
    color = performance.step(named, 1e6)
    return performance.stylizer.frames(40, 52)(photo(40, 52), color)


def expected(style: Path, color: str = "style", **controls: Any) -> Bytes:
    found: Bytes = Stylizer(style, **controls)(photo(40, 52), color=color)
    return found


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_controls_by_hand(style: Path, backend: str) -> None:
    performance = Performance(style, StyleControls("stars", strength=0.7), "cpu", backend)
    assert apart(painted(performance), expected(style, mix="stars", strength=0.7)) <= 1
    performance.set({"strength": 0.2, "stroke": 1})
    assert apart(painted(performance), expected(style, mix="stars", strength=0.2, stroke=1.0)) <= 1
    performance.set({"styles": ["waves", "scream"], "mix": 0.25})
    mixed: dict[str, Any] = {"mix": "waves:0.75,scream:0.25", "strength": 0.2, "stroke": 1.0}
    assert apart(painted(performance), expected(style, **mixed)) <= 1
    performance.set({"colors": 1})
    assert apart(painted(performance), expected(style, color="photo", **mixed)) <= 2
    performance.set({"styles": ["stars"], "colors": 0})
    assert apart(painted(performance), expected(style, mix="stars", strength=0.2, stroke=1.0)) <= 1
    state = performance.state()
    assert (state["styles"], state["mix"], state["shares"]) == (["stars", "scream"], 0, {"stars": 1})


def routed(*pairs: tuple[str, str]) -> SignalMap:
    return SignalMap("test", tuple(Route(signal, control, attack=0, release=0) for signal, control in pairs))


def test_controls_by_a_mapping(style: Path) -> None:
    mapping = routed(("midi.1", "strength"), ("midi.2", "style"), ("midi.3", "mix"), ("midi.4", "colors"))
    performance = Performance(style, StyleControls("stars,scream", stroke=0.5), "cpu", "torch", mapping)
    settings: list[tuple[dict[str, float], dict[str, Any]]] = [
        ({"midi_1": 0.3}, {"mix": "waves", "strength": 0.3}),
        ({"midi_1": 0.3, "midi_2": 0.5}, {"mix": "stars", "strength": 0.3}),
        ({"midi_1": 1, "midi_2": 0.8}, {"mix": "stars:0.4,scream:0.6", "strength": 1.0}),
        ({"midi_2": 1, "midi_3": 1}, {"mix": "scream", "strength": 0.0}),
        ({"midi_1": 0.4, "midi_3": 0.2}, {"mix": "waves:0.8,scream:0.2", "strength": 0.4}),
    ]
    for signals, more in settings:
        assert np.array_equal(painted(performance, **signals), expected(style, stroke=0.5, **more)), signals
    assert performance.step({"midi.4": 0.5}, 1) == "photo" and performance.step({"midi.4": 0.49}, 1) == "style"
    performance.map(routed(("midi.3", "mix")))
    assert np.array_equal(
        painted(performance, midi_3=0.25), expected(style, mix="stars:0.75,scream:0.25", strength=0.5, stroke=0.5)
    )
    assert performance.state()["moved"] == ["mix"]
    performance.map(None)
    assert np.array_equal(painted(performance), expected(style, mix="stars,scream", strength=0.5, stroke=0.5))
    assert performance.state()["map"] is None


def test_a_mix_of_three_styles_stays_until_a_hand_changes_it(style: Path) -> None:
    chosen = "waves:1,stars:2,scream:1"
    performance = Performance(style, StyleControls(chosen), "cpu", "torch")
    assert np.array_equal(painted(performance), expected(style, mix=chosen))
    performance.set({"mix": 0.5})
    assert np.array_equal(painted(performance), expected(style, mix="waves,stars"))


def test_a_file_without_controls_paints_and_says_what_it_lacks(tmp_path: Path) -> None:
    path = written(tmp_path / "one.safetensors", styles=1)
    mapping = routed(("midi.1", "strength"), ("midi.2", "style"), ("midi.3", "colors"))
    performance = Performance(path, mapping=mapping)
    assert performance.idle_routes(mapping) == ["strength", "style"]
    assert apart(painted(performance, midi_1=1), expected(path)) <= 1
    assert performance.state()["moved"] == ["colors"]
    for values, words in (({"strength": 0.5}, "no control 'strength'"), ({"mix": 0.5}, "no control 'mix'")):
        with pytest.raises(UserError, match=words):
            performance.set(values)
    with pytest.raises(UserError, match="has no control for strength"):
        Performance(path, StyleControls(strength=0.3))


def test_a_file_with_built_in_controls_paints(style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from onestroke.cli.export import main
    from onestroke.export import exporting

    monkeypatch.setattr(exporting, "SIDE", 32)
    assert main([f"ckpt={style}", "style=stars", f"out={tmp_path / 'baked.onnx'}"]) == 0
    performance = Performance(tmp_path / "baked.onnx")
    assert apart(painted(performance), expected(style, mix="stars")) <= 1
    assert (performance.styles, performance.controls) == (["stars"], ())
    with pytest.raises(UserError, match="export it with controls=live"):
        Performance(tmp_path / "baked.onnx", StyleControls(strength=0.3))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"strenght": 1}, "no control 'strenght': did you mean 'strength'"),
        ({"style": "stars"}, "no control 'style'"),
        ({"strength": 1.2}, "strength must be a number from 0 to 1, not 1.2"),
        ({"colors": True}, "colors must be a number"),
        ({"styles": ["stras"]}, "this style file has no 'stras': did you mean 'stars'"),
        ({"styles": "stars"}, "a list of one or two names"),
        ({"styles": NAMES}, "a list of one or two names"),
        ({"styles": [["stars"]]}, "this style file has no"),
    ],
)
def test_what_is_no_setting_is_told_and_changes_nothing(style: Path, values: dict[str, Any], words: str) -> None:
    performance = Performance(style, backend="torch")
    before = performance.state()
    with pytest.raises(UserError, match=words):
        performance.set({"stroke": 0.7, **values})
    assert performance.state() == before and before["shares"] == {"waves": 1}


def test_the_figures_are_those_of_the_last_three_seconds() -> None:
    figures = Figures()
    assert figures.line(0, 0) == "0.0 frames/s, nobody watches, 0 of 0 frames dropped"
    figures.shown(0.0, 9.0)
    for number in range(61):
        figures.painted(10 + number / 20)
    for late in (0.04, 0.06, 0.05):
        figures.shown(12.0, 12.0 + late)
    assert figures.line(80, 13) == ("20.0 frames/s, 50 ms from camera to shown (1.0 frames), 19 of 80 frames dropped")
    assert figures.line(80, 20) == "0.0 frames/s, nobody watches, 19 of 80 frames dropped"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_figures_are_updated_in_place_on_a_terminal_and_lines_elsewhere() -> None:
    for stream, expected in (
        (io.StringIO(), "hello\n1 frame\n2 frames\ngone\n"),
        (Terminal(), "\r\x1b[Khello\n\r\x1b[K1 frame\r\x1b[K2 frames\r\x1b[Kgone\n"),
    ):
        report = Report(stream)
        report.say("hello")
        report.update("1 frame")
        report.update("2 frames")
        report.say("gone")
        assert stream.getvalue() == expected
        every = 0.5 if stream.isatty() else 5
        assert [report.due(now) for now in (0, every, 1.5 * every, 2 * every)] == [False, True, False, True]
