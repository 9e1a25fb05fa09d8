"""Mappings of signals to controls: their numbers, against computations of their own, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onestroke.errors import UserError
from onestroke.live.mapping import (
    CONTROLS,
    Followers,
    Route,
    SignalMap,
    is_signal,
    parse_map,
    preset_names,
    read_map,
    written_map,
)


def route(**more: Any) -> dict[str, Any]:
    return {"signal": "sound.level", "control": "strength", **more}


def document(*routes: dict[str, Any], **more: Any) -> str:
    return json.dumps({"onestroke_map": 1, "name": "mine", "routes": list(routes), **more})


def follow(given: dict[str, Any], values: list[float], seconds: float) -> list[float]:
    """What one route makes of a signal."""
    followers = Followers(parse_map(document(given), "test"))
    return [followers.step({given["signal"]: value}, seconds)[given["control"]] for value in values]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, [0, 0.25, 0.5, 1]),
        ({"output": [0.3, 1]}, [0.3, 0.475, 0.65, 1]),
        ({"output": [0.8, 0.2]}, [0.8, 0.65, 0.5, 0.2]),
        ({"input": [0.25, 0.5]}, [0, 0, 1, 1]),
        ({"input": [1, 0]}, [1, 0.75, 0.5, 0]),
        ({"curve": 2}, [0, 0.0625, 0.25, 1]),
        ({"curve": 0.5, "output": [0, 0.5]}, [0, 0.25, 0.35355339, 0.5]),
    ],
)
def test_ranges_and_curve(more: dict[str, Any], expected: list[float]) -> None:
    found = follow(route(attack=0, release=0, **more), [0, 0.25, 0.5, 1], 0.1)
    assert found == pytest.approx(expected)


def test_attack_and_release_are_the_time_constants_of_a_low_pass() -> None:
    up = follow(route(attack=0.5, release=2), [0.0, *[1.0] * 50], 0.1)
    assert up[1:] == pytest.approx([1 - math.exp(-0.1 * n / 0.5) for n in range(1, 51)])
    down = follow(route(attack=0.5, release=2), [1.0, *[0.0] * 50], 0.1)
    assert down[1:] == pytest.approx([math.exp(-0.1 * n / 2) for n in range(1, 51)])
    # the same after the same time, whatever the frame rate
    assert follow(route(attack=0.5), [0.0, *[1.0] * 10], 0.1)[-1] == pytest.approx(
        follow(route(attack=0.5), [0.0, *[1.0] * 100], 0.01)[-1]
    )


def test_following_is_of_what_the_curve_gives_so_a_falling_output_attacks_too() -> None:
    found = follow(route(attack=0.5, release=0, output=[1, 0]), [0.0, 1.0, 0.0], 0.1)
    assert found == pytest.approx([1, math.exp(-0.2), 1])


def test_routes_of_one_control_are_added_and_clamped() -> None:
    text = document(
        route(attack=0, release=0, output=[0.2, 0.9]),
        route(signal="motion.amount", attack=0, release=0, output=[0, 0.5]),
        route(signal="motion.amount", control="stroke", attack=0, release=0),
    )
    followers = Followers(parse_map(text, "test"))
    assert followers.mapping.controls == ("strength", "stroke")
    for level, amount in np.random.default_rng(0).random((20, 2)).tolist():
        found = followers.step({"sound.level": level, "motion.amount": amount}, 0.1)
        assert found == pytest.approx({"strength": min(1, 0.2 + 0.7 * level + 0.5 * amount), "stroke": amount})
    assert followers.step({}, 0.1) == pytest.approx({"strength": 0.2, "stroke": 0})


def test_signals_of_time() -> None:
    sine = follow(route(signal="time.sine", period=4, attack=0, release=0), [0.0] * 5, 1.0)
    assert sine == pytest.approx([0.5, 1, 0.5, 0, 0.5])
    saw = follow(route(signal="time.saw", period=4, attack=0, release=0), [0.0] * 5, 1.0)
    assert saw == pytest.approx([0.25, 0.5, 0.75, 0, 0.25])


def test_names_of_signals() -> None:
    assert all(is_signal(name) for name in ("motion.x", "midi.0", "midi.127", "remote.fader.1", "remote.a-b_C"))
    wrong = ("motion", "midi.128", "midi.01", "midi.-1", "remote.", "remote.a b", "remote.ä", "time.sine ", 3, None)
    assert not any(is_signal(name) for name in wrong)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "it is no JSON"),
        ("[]", "no JSON object"),
        (json.dumps({"name": "a", "routes": []}), 'it needs "onestroke_map": 1'),
        (document(onestroke_map=2), 'it needs "onestroke_map": 1'),
        (document(onestroke_map=True), 'it needs "onestroke_map": 1'),
        (document(rotues=[]), "there is no 'rotues': did you mean 'routes'"),
        (document(name=""), "the name of a map"),
        (document(routes={}), "routes is a list"),
        (document(routes=[3]), "routes is a list"),
        (document(*[route()] * 65), "65 routes, and 64 are the most"),
        (document(route(), route(signal="sound.lvl")), "route 2: there is no signal 'sound.lvl': did you mean"),
        (document({"control": "strength"}), "there is no signal None"),
        (document(route(control="strenght")), "no control 'strenght': did you mean 'strength'"),
        (document(route(control=[])), "no control "),
        (document(route(smooth=1)), "there is no 'smooth'"),
        (document(route(curve=0)), "curve is a number from 0.01 to 100, not 0"),
        (document(route(attack=-1)), "attack is a number from 0 to 3600"),
        (document(route(release="1")), "release is a number from 0 to 3600, not '1'"),
        (document(route(attack=True)), "attack is a number"),
        (document(route(period=3)), "period is for time.sine and time.saw"),
        (document(route(signal="time.saw", period=0)), "period is a number from 0.01"),
        (document(route(input=[0.5, 0.5])), "two different numbers"),
        (document(route(input=[0, 1, 1])), "input is two numbers from 0 to 1"),
        (document(route(output=[0, 1.5])), "output is two numbers from 0 to 1"),
        (document(route(output=0.5)), "output is two numbers from 0 to 1, not 0.5"),
        (document(route()).replace("sound.level", "sound.level\\u001b[2J"), "there is no signal"),
        ('{"onestroke_map": 1, "name": "a", "routes": [{"curve": NaN}]}', "not finite"),
    ],
)
def test_what_is_no_map_is_told_in_one_sentence(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as told:
        parse_map(text, "my.json")
    assert str(told.value).startswith("my.json") and "\n" not in str(told.value) and "\x1b" not in str(told.value)


def test_the_presets_and_files() -> None:
    assert preset_names() == ["breathing", "conductor", "dance"]
    for name in preset_names():
        mapping = read_map(name)
        assert mapping.name == name and set(mapping.controls) <= set(CONTROLS)
        assert {"strength", "stroke", "style"} == set(mapping.controls)
        assert parse_map(written_map(mapping), "again") == mapping


def test_a_file_is_read_and_a_missing_one_is_told(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(document(route(curve=2)), encoding="utf-8-sig")
    assert read_map(str(path)) == SignalMap("mine", (Route("sound.level", "strength", curve=2.0),))
    for name, words in (
        ("dnace", "there is no map 'dnace': did you mean 'dance'"),
        (str(tmp_path / "other.json"), "can't read the map .*No such file"),
        (str(tmp_path), "can't read the map .*directory"),
    ):
        with pytest.raises(UserError, match=words):
            read_map(name)
    path.write_bytes(b" " * 70000)
    with pytest.raises(UserError, match="more than 64 KiB"):
        read_map(str(path))
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="no UTF-8"):
        read_map(str(path))
