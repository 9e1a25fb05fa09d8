"""Expand a leading `~` in the paths of train.py, on the command line and in configs; Hydra doesn't."""

from __future__ import annotations

import re
from typing import Any

from onestroke.files import home

PATHS = (
    *("style.image", "data.root", "data.val", "data.cache", "vgg.weights"),
    *("init", "teacher", "out", "resume"),
)
"""Options that are paths or lists of paths."""

_WORDS = re.compile(r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|(?:^|(?<=[\[,]))(\s*)(~[^,\]]*)""")


def home_in_override(argument: str) -> str:
    """Expand a leading `~` in the paths of a Hydra override, `key=value` or `key=[value,value]`.

    Expanded paths are quoted for Hydra's grammar; values that are already quoted are not changed.
    """
    key, equals, value = argument.partition("=")

    def expand(word: re.Match[str]) -> str:
        quoted, space, path = word.groups()
        if quoted or home(path) == path:
            return word[0]
        if key.startswith("-"):
            return f"{space}{home(path)}"
        return f'{space}"{home(path)}"'

    return f"{key}{equals}{_WORDS.sub(expand, value)}"


def with_home(config: dict[str, Any]) -> dict[str, Any]:
    """Expand a leading `~` in all PATHS of a plain config, in place; returns the config."""
    for option in PATHS:
        *groups, key = option.split(".")
        place: Any = config
        for group in groups:
            place = place.get(group)
        if isinstance(place, dict) and key in place:
            value = place[key]
            if isinstance(value, list):
                place[key] = [home(part) if isinstance(part, str) else part for part in value]
            elif isinstance(value, str):
                place[key] = home(value)
    return config
