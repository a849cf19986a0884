"""The kinds of values that options take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from facealign_cli.cli.kinds import STDOUT, FacesPath, FiniteFloat, OutputFile, PixelCount
from facealign_cli.cli.main import main


@pytest.mark.parametrize(
    ("text", "pixels"),
    [
        ("200000000", 200_000_000),
        ("200_000_000", 200_000_000),
        ("200M", 200_000_000),
        ("2e8", 200_000_000),
        ("1.5g", 1_500_000_000),
        (" 100k ", 100_000),
        ("1", 1),
        ("0.1M", 100_000),
    ],
)
def test_pixels(text: str, pixels: int) -> None:
    assert PixelCount().convert(text, None, None) == pixels


@pytest.mark.parametrize("text", ["0", "0.4", "-5", "nan", "inf", "infM", "1e99", "2e-8", "200 MP", "", "M", "1M5"])
def test_no_pixels(text: str) -> None:
    with pytest.raises(click.BadParameter, match="200000000, 200M or 2e8"):
        PixelCount().convert(text, None, None)


def test_finite_numbers_keep_their_bounds() -> None:
    kind = FiniteFloat(0, 1, min_open=True)
    assert kind.convert("1", None, None) == 1
    for text in ("0", "1.1", "nan", "inf", "one"):
        with pytest.raises(click.BadParameter):
            kind.convert(text, None, None)
    for text in ("nan", "inf", "-inf", "1e999"):
        with pytest.raises(click.BadParameter, match="not a finite number"):
            FiniteFloat().convert(text, None, None)


def test_a_dash_is_standard_output_or_refused() -> None:
    assert OutputFile(stdout=True).convert("-", None, None) == STDOUT
    with pytest.raises(click.BadParameter, match="the name is empty"):
        OutputFile().convert("", None, None)
    with pytest.raises(click.BadParameter, match="name a file"):
        OutputFile().convert("-", None, None)


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("my clip.MP4", "facealign video track '{}' -o rows.csv"),
        ("face.jpg", "facealign detect image {} -o rows.csv"),
    ],
)
def test_media_in_the_place_of_faces_are_told_what_makes_rows_of_them(name: str, made: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.touch()
    with pytest.raises(click.BadParameter) as told:
        FacesPath().convert(str(path), None, None)
    assert made.format(path) in str(told.value)
    rows = path.with_suffix(".csv")
    rows.touch()
    assert FacesPath().convert(str(rows), None, None) == rows
    (tmp_path / "frames.mp4").mkdir()
    assert FacesPath().convert(str(tmp_path / "frames.mp4"), None, None) == tmp_path / "frames.mp4"


def test_the_detector_of_boxes_needs_boxes(tmp_path: Path) -> None:
    picture = tmp_path / "face.jpg"
    picture.touch()
    result = CliRunner().invoke(main, ["detect", "image", str(picture), "--detector", "boxes"])
    assert result.exit_code == 2
    assert "--detector boxes needs --boxes PATH" in result.stderr


def number_options() -> Iterator[tuple[str, click.Parameter]]:
    """Every parameter of every command that takes a number."""
    commands: list[tuple[str, click.Command]] = [("facealign", main)]
    while commands:
        name, command = commands.pop()
        if isinstance(command, click.Group):
            commands += [(f"{name} {inner}", each) for inner, each in command.commands.items()]
        for parameter in command.params:
            kinds = (click.types.IntParamType, click.types.FloatParamType, PixelCount)
            if isinstance(parameter.type, kinds):
                yield f"{name} {parameter.name}", parameter


ODD_NUMBERS = ["nan", "inf", "-inf", "1e400", "9" * 400, "-" + "9" * 400, "9" * 5000, "1e300", "", " ", "1,5", "①"]


def test_every_number_has_bounds() -> None:
    parameters = dict(number_options())
    assert len(parameters) > 40
    for name, parameter in parameters.items():
        for text in ODD_NUMBERS:
            with pytest.raises(click.BadParameter):
                pytest.fail(f"{name} takes {parameter.type.convert(text, parameter, None)}")


@pytest.mark.parametrize("text", [text for text in ODD_NUMBERS if "," not in text])
def test_texts_that_hold_numbers(text: str) -> None:
    for option in ("--start", "--end", "--detect-every"):
        result = CliRunner().invoke(main, ["video", "track", "clip.mp4", option, text])
        assert result.exit_code == 2, (option, result.output)
    result = CliRunner().invoke(main, ["video", "track", "clip.mp4", "--smooth", f"1,{text}"])
    assert result.exit_code == 2
