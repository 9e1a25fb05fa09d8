"""Stages of a pipeline that overlap."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from onestroke.video.overlap import side_by_side


def test_results_come_in_order_though_two_calls_run_at_once() -> None:
    both = threading.Barrier(2, timeout=20)  # breaks, and with it the calls, unless two wait at the same time

    def call(item: int) -> int:
        both.wait()
        return item * item

    assert list(side_by_side(call, range(8), 2)) == [item * item for item in range(8)]


def test_one_at_a_time_takes_an_item_when_it_is_asked_for_a_result() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(5):
            taken.append(item)
            yield item

    results = side_by_side(str, items(), 1)
    assert taken == []
    assert next(results) == "0" and taken == [0]
    assert next(results) == "1" and taken == [0, 1]
    results.close()


def test_an_exception_is_raised_in_its_turn_and_ends_it() -> None:
    def call(item: int) -> float:
        return 6 / item

    results = side_by_side(call, [3, 2, 0, 1], 2)
    assert [next(results), next(results)] == [2, 3]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == []
