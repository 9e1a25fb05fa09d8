"""The parser of `key=value` arguments: what it reads, what it refuses and in which words, and its help text."""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import pytest

from onestroke.cli.options import CommandOptions, command, help_text, option, parse
from onestroke.errors import UserError


@dataclass
class Options(CommandOptions):
    """One option of each kind."""

    style: str = option("the style to paint in", example="udnie")
    photo: list[str] = option("what is painted", [], bare=True, placeholder="FILE")
    out: str | None = option("where it goes", None, path=True, placeholder="FILE")
    extra: list[str] = option("more files", [], path=True)
    count: int = option("how many", 4, low=1)
    seed: int = option("of the noise", 0)
    quality: int | None = option("of JPEG", None, low=1, high=100, placeholder="N")
    share: float = option("of the painting", 0.5, low=0, high=1)
    weight: float = option("of the term", 1.0, above=0, high=1, placeholder="W")
    rate: float | None = option("images a second", None, above=0)
    level: float = option("where it begins", 0.0, low=-2)
    kind: str = option("onnx or torch", "onnx", choices=("onnx", "torch"))
    start: Literal["content", "noise"] = option("content or noise", "content")
    keep: bool = option("keep all", False)
    stable: bool = option("measure too", True)

    def check(self) -> None:
        if self.quality is not None and self.kind == "torch":
            raise UserError("quality is for onnx")


@dataclass
class One(CommandOptions):
    """A file that needs no key."""

    file: str = option("the file", bare=True, path=True, example="a.jpg")


def test_what_is_not_given_has_its_default() -> None:
    found = parse(Options, ["style=udnie"])
    assert found == Options("udnie")
    found.photo.append("a")
    assert parse(Options, ["style=udnie"]).photo == [], "a list of its own each time"


def test_each_kind_of_value_is_read() -> None:
    given = ["style=a=b.png", "photo=x", "extra=1", "extra=2", "count=0012", "quality=100", "share=1", "rate=1e3"]
    found = parse(Options, [*given, "level=-2", "kind=ONNX", "start=Noise", "keep=TRUE", "stable=false"])
    assert found == Options(
        "a=b.png", ["x"], extra=["1", "2"], count=12, quality=100, share=1.0, rate=1000.0, level=-2.0, start="noise",
        keep=True, stable=False,
    )  # fmt: skip
    assert isinstance(found.share, float) and found.kind == "onnx"


BAD = {
    "stlye=udnie": "there is no option 'stlye': did you mean 'style' or 'stable'?",
    "zzz=1": "there is no option 'zzz': known are count, extra,",
    "out=": "out has no value: write out=...",
    "out": "out has no value",
    "photo": "photo has no value",
    "count=5 count=5": "count is given twice",
    "count=0": "count must be a whole number of at least 1, not '0'",
    "count=1.5": "count must be a whole number of at least 1",
    "count=1_000": "count must be a whole number",
    "count=٣": "count must be a whole number",
    "count=12345678901": "count must be a whole number",
    "seed=-1": "seed must be a whole number of at least 0, not '-1'",
    "quality=101": "quality must be a whole number from 1 to 100, not '101'",
    "quality=0": "quality must be a whole number from 1 to 100, not '0'",
    "share=1.01": "share must be a number from 0 to 1, not '1.01'",
    "share=-0.1": "share must be a number from 0 to 1",
    "share=nan": "share must be a number from 0 to 1, not 'nan'",
    "share=much": "share must be a number from 0 to 1, not 'much'",
    "weight=0": "weight must be a number above 0, up to 1, not '0'",
    "weight=1.1": "weight must be a number above 0, up to 1",
    "rate=0": "rate must be a number above 0, not '0'",
    "rate=inf": "rate must be a number above 0, not 'inf'",
    "level=-2.1": "level must be a number of at least -2",
    "kind=tensorrt": "kind can't be 'tensorrt': known are onnx, torch",
    "kind=onxx": "kind can't be 'onxx': did you mean 'onnx'?",
    "start=middle": "start can't be 'middle': known are content, noise",
    "keep=yes": "keep must be true or false, not 'yes'",
    "quality=9 kind=torch": "quality is for onnx",
}


@pytest.mark.parametrize("given", BAD)
def test_a_mistake_is_told(given: str) -> None:
    with pytest.raises(UserError) as told:
        parse(Options, ["style=udnie", *given.split()])
    assert BAD[given] in str(told.value)


def test_what_is_needed_is_named_with_an_example() -> None:
    with pytest.raises(UserError, match="style is needed: style=udnie"):
        parse(Options, [])


def test_names_without_a_key_belong_to_one_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a=b.png").touch()
    found = parse(Options, ["style=udnie", "x.png", "photo=y.png", "a=b.png", "photo (1).jpg", "photo="])
    assert found.photo == ["x.png", "y.png", "a=b.png", "photo (1).jpg", ""]
    with pytest.raises(UserError, match="there is no option 'c'"):
        parse(Options, ["style=udnie", "c=d.png"])  # no such file
    assert parse(One, ["a=b.png"]) == parse(One, ["file=a=b.png"]) == One("a=b.png")
    with pytest.raises(UserError, match=r"file is given twice \(a and b\)"):
        parse(One, ["a", "file=b"])
    with pytest.raises(UserError, match="file has no value"):
        parse(One, ["file="])


def test_a_path_may_begin_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/of me")
    monkeypatch.setenv("USERPROFILE", "/home/of me")
    found = parse(Options, ["style=~/s", "photo=~/p", "out=~/o", "extra=~/e", "extra=a~b"])
    assert (found.out, found.extra) == ("/home/of me/o", ["/home/of me/e", "a~b"])
    assert (found.style, found.photo) == ("~/s", ["~/p"]), "no paths"
    assert parse(One, ["~/x"]).file == "/home/of me/x"


def test_the_help_text_has_every_option_with_its_default() -> None:
    text = help_text(Options, "paint style=NAME\npaint again", "That is all.\n")
    lines = text.splitlines()
    assert lines[:3] == ["usage: paint style=NAME", "       paint again", ""] and lines[-1] == "That is all."
    told = {line.split("=")[0].strip(): line for line in lines[3:-2]}
    assert list(told) == [field.name for field in fields(Options)]
    for name, words in {
        "style": "=udnie      the style to", "photo": "=FILE ", "count": "=4 ", "weight": "=W ", "share": "=0.5 ",
        "start": "=content ", "keep": "=true        keep all", "stable": "measure too; true is the default",
    }.items():  # fmt: skip
        assert words in told[name]
    assert told["weight"].endswith("of the term; default: 1.0")


def test_long_words_are_folded_below_themselves() -> None:
    @dataclass
    class Long(CommandOptions):
        """A name and words that are too long for one line."""

        a_name_that_is_long: str = option("word " * 40 + "\nb  b", "c")

    lines = help_text(Long, "x").splitlines()[2:]
    assert lines[0] == "  a_name_that_is_long=c"
    assert all(line.startswith(" " * 19 + "w") and len(line) <= 120 for line in lines[1:-1])
    assert " ".join(lines[1:-1]).split() == ["word"] * 40 and lines[-1] == " " * 19 + "b  b"


def test_a_command_ends_with_a_code_and_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    def job(options: One) -> int | None:
        if options.file == "wrong":
            raise UserError("that is wrong")
        if options.file == "stop":
            raise KeyboardInterrupt
        warnings.warn("it is late", stacklevel=1)
        return 3 if options.file == "three" else None

    for given, code, out, err in (
        ([], 2, "usage: one\n", ""),
        (["a", "--help"], 0, "usage: one\n", ""),
        (["a"], 0, "", "onestroke: it is late\n"),
        (["three"], 3, "", "onestroke: it is late\n"),
        (["wrong"], 2, "", "onestroke: that is wrong\n"),
        (["stop"], 130, "", "stopped\n"),
    ):
        assert command(One, "one", job, given) == code
        said = capsys.readouterr()
        assert said.out.startswith(out) and (said.out != "") is (out != "") and said.err == err


def test_without_arguments_those_of_the_process_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["one", "file=three"])
    assert command(One, "one", lambda options: len(options.file), None) == 5
