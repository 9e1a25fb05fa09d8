from __future__ import annotations

from collections.abc import Callable

import pytest

from onestroke.errors import UserError, gather, near


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("stary_night", ["udnie", "starry_night"], "did you mean 'starry_night'?"),
        ("relu3_4", ["relu1_1", "relu3_3"], "did you mean 'relu3_3' or 'relu1_1'?"),  # the nearest first
        ("qqq", ["b", "a"], "known are a, b"),
        ("", ["b", "a"], "known are a, b"),
        ("a", [], "none is known"),
    ],
)
def test_near_names_what_may_have_been_meant(name: str, known: list[str], hint: str) -> None:
    assert near(name, known) == hint
    assert near(name, iter(known)) == hint


def test_near_names_three_at_most() -> None:
    assert near("style", [f"style{i}" for i in range(9)]).count("'style") == 3


def test_a_message_is_as_long_as_a_sentence_whatever_it_quotes() -> None:
    told = str(UserError("first\n" + "x" * 3_000_000 + "\n\x1b[2Jlast"))
    first, long, last = told.split("\n")
    assert (first, last) == ("first", "\\u001b[2Jlast")
    assert long == "x" * 2000 + "... (3000000 characters)"


def says(message: str) -> Callable[[], object]:
    def check() -> object:
        raise UserError(message)

    return check


def test_gather_of_checks_that_hold_runs_them_all_and_says_nothing() -> None:
    ran: list[int] = []
    gather([lambda: ran.append(1), lambda: ran.append(2)])
    assert ran == [1, 2]


def test_gather_raises_a_single_problem_as_it_is() -> None:
    with pytest.raises(UserError, match=r"^crop is too small$"):
        gather([lambda: None, says("crop is too small")])


def test_gather_tells_every_problem_in_order_after_running_every_check() -> None:
    ran: list[int] = []
    with pytest.raises(UserError) as raised:
        gather([says("first"), lambda: ran.append(1), says("second"), says("third"), lambda: ran.append(2)])
    assert str(raised.value) == "3 things need mending first:\n  - first\n  - second\n  - third"
    assert ran == [1, 2]


def test_gather_lets_our_own_bugs_through() -> None:
    def bug() -> object:
        raise KeyError("ours")

    with pytest.raises(KeyError, match="ours"):
        gather([says("first"), bug])
