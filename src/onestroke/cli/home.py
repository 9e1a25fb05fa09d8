"""A leading `~` in what train.py is given, on the command line and in configs: Hydra's grammar knows none."""

from __future__ import annotations

import re
from typing import Any

from onestroke.files import home

PATHS = (
    *("style.image", "data.root", "data.val", "data.cache", "vgg.weights"),
    *("init", "teacher", "out", "resume"),
)
"""Options that are paths, or lists of them."""

_WORDS = re.compile(r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|(?:^|(?<=[\[,]))(\s*)(~[^,\]]*)""")


def home_in_override(argument: str) -> str:
    """An argument of Hydra's, `key=value`, with the home folder in each path of its value.

    Hydra's grammar knows no `~` in a value, so what is expanded is put in quotes; what stands in quotes already stays.
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
    """A plain config with the home folder in place of a leading `~`, in every option that is a path, in place."""
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
