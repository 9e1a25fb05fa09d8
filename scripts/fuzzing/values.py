"""Values that a JSON document should not hold, and documents with one of them in it."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from random import Random
from typing import Any

# what json.dumps can't write stands in the document under such names, and is put in afterwards
_RAW = {
    "@raw deep lists@": "[" * 50_000 + "]" * 50_000,
    "@raw deep objects@": '{"a":' * 20_000 + "1" + "}" * 20_000,
    "@raw long number@": "9" * 6_000,
    "@raw infinite@": "1e999",
    "@raw twice@": '{"name": 1, "name": "b", "args": 2, "args": {}}',
}

_PLAIN: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 101, 255, 1024, 1025, 65536, 10**9, 2**31, 2**63, -(2**63), 2**64, 10**40, 0.5,
    -0.5, 1.5, 1e-320, 1e308, math.nan, math.inf, -math.inf, "", " ", "0", "nan", "true", "a", "..", "../../up",
    "/dev/null", "a\0b", "\x1b[31mred\x1b[0m\a", "\x9b31m", "two\nlines", "tab\tbed", "\u202eback", "\ud800", "é" * 300,
    "starry_night", "strength", "stroke", [], {}, [[]], [{}], [None], [1], [1, 2], [1, 2, 3], [16, 32, 64],
    [1, 1024, 1], [-1, -1, -1], ["strength"], ["stroke", "strength"], ["strength", "strength"], [1.5, 2.5, 3.5],
    {"a": 1}, {"name": "a"}, {"": {}}, {"name": []}, {"name": {"name": "a"}}, [True, True, True],
)  # fmt: skip


def hostile(rng: Random) -> Any:
    """A value of another kind, size or sign than anyone expects."""
    if rng.random() < 0.85:
        return copy.deepcopy(rng.choice(_PLAIN))  # which a later change may change in its turn
    choice = rng.randrange(7)
    if choice < 3:
        return rng.choice(sorted(_RAW))
    if choice == 3:
        return rng.choice(("a", "\x1b[2J", "é ", "\n")) * rng.choice((1_000, 100_000, 1_000_000))
    if choice == 4:
        return [rng.choice((None, 1, "a", {}))] * rng.choice((1_000, 100_000))
    if choice == 5:
        return {str(i): i for i in range(rng.choice((100, 20_000)))}
    nested: Any = rng.choice((1, "a", None))
    for _ in range(rng.choice((3, 50, 400))):
        nested = [nested] if rng.random() < 0.5 else {"a": nested}
    return nested


def changed(document: Any, rng: Random) -> Any:
    """The document with one place of it spoilt; what was given may be changed too."""
    places = list(_places(document))
    if not places or rng.random() < 0.02:
        return hostile(rng)
    holder, key = rng.choice(places)
    choice = rng.random()
    if choice < 0.6:
        holder[key] = hostile(rng)
    elif choice < 0.72:
        del holder[key]
    elif choice < 0.8 and isinstance(holder, dict):
        holder[rng.choice(("name", "args", "", "_target_", f"{key} ", str(key).upper(), "version"))] = holder.pop(key)
    elif choice < 0.86:
        holder[key] = rng.choice(([holder[key]], {"name": holder[key]}, [holder[key]] * 2, str(holder[key])))
    elif choice < 0.93:
        other, there = rng.choice(places)
        holder[key] = json.loads(json.dumps(other[there]))
    elif isinstance(holder, dict):
        holder[rng.choice(("controls", "styles", "strength", "mix", "extra", "size", "__class__", "self"))] = hostile(
            rng
        )
    else:
        holder.append(hostile(rng))
    return document


def near(value: Any, rng: Random) -> Any:
    """A number or text that is nearly `value`."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice((value + 1, value - 1, -value, value * 2, value * 1000, float(value), str(value), 0))
    if isinstance(value, float):
        return rng.choice((-value, value * 1e6, value + 1, int(value), str(value), 0.0))
    return hostile(rng)


def text(document: Any) -> str:
    """The document as JSON, or as what nearly is."""
    written = json.dumps(document)
    for name, raw in _RAW.items():
        written = written.replace(json.dumps(name), raw)
    return written


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a document, as its holder and the key there."""
    waiting = [value]
    while waiting:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
        for key in list(keys)[:2_000]:
            yield holder, key
            waiting.append(holder[key])
