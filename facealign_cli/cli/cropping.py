"""What the commands that cut out faces share: their options, and where the crops of pictures go."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from facealign_cli.cli import kinds

if TYPE_CHECKING:
    from facealign_cli.aligner import PictureResult
    from facealign_cli.crops import CropOptions

HOW = (
    click.option(
        "--crop-preset",
        default="upright",
        show_default=True,
        type=click.Choice(["upright", "arcface", "ffhq"]),
        help="How a face stands in its square.",
    ),
    click.option(
        "--crop-size",
        metavar="PIXELS",
        type=kinds.Count(8, 4096),
        show_default="256; arcface: 112; ffhq: 1024",
        help="Side of the square.",
    ),
)
"""What `crop_options` takes, where all that a command does is to cut."""

CROPS = (
    click.option(
        "--crops-dir", metavar="DIR", help="Write each face as a square JPEG, and beside it its matrix and landmarks."
    ),
    *HOW,
)
"""What `crop_options` takes."""


def crop_options(settings: dict[str, Any]) -> CropOptions:
    """Takes the preset and the size out of a command's settings. Raises click.UsageError where nothing is cut out."""
    from facealign_cli.crops import CropOptions

    context = click.get_current_context()
    for name in ("crop_preset", "crop_size"):
        given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if given and settings.get("crops_dir", "") is None:
            raise click.UsageError(f"--{name.replace('_', '-')} is about the crops: give --crops-dir, too")
    return CropOptions(settings.pop("crop_preset"), settings.pop("crop_size"))


class PictureCrops:
    """Writes the crops of some pictures into a folder, as NAME_0.jpg and NAME_0.json of a face 0 in NAME.

    Raises OutputError where crops of these pictures stand there already and must not be replaced.
    """

    failure = "not cut out"

    def __init__(self, folder: Path, crop: CropOptions, sources: Sequence[str], overwrite: bool) -> None:
        from facealign_cli.files.output import exists_already, make_folder, picture_stems

        self.folder, self._crop, self._overwrite = make_folder(folder), crop, overwrite
        stems = picture_stems(["stdin" if source == "-" else source for source in sources])
        self._stems = iter(stems)
        self._written: set[Path] = set()
        for stem in () if overwrite else stems:
            place = self.folder / stem
            own = re.compile(rf"{re.escape(place.name)}_\d+\.(jpg|json)")
            for file in place.parent.iterdir() if place.parent.is_dir() else ():
                if own.fullmatch(file.name):
                    raise exists_already(file)

    @classmethod
    def of(cls, settings: dict[str, Any], sources: Sequence[str], overwrite: bool) -> PictureCrops | None:
        """Takes its options out of a command's settings; None where no crops are wanted."""
        crop, folder = crop_options(settings), settings.pop("crops_dir")
        return None if folder is None else cls(Path(folder), crop, sources, overwrite)

    def write(self, result: PictureResult) -> None:
        """The faces of the next picture. Raises OutputError, and InputError where no face can be cut out."""
        from facealign_cli.crops import cut_face
        from facealign_cli.files.output import make_folder, write_bytes

        place = self.folder / next(self._stems)
        if result.image is None or not result.record.faces or place in self._written:
            return  # also the same picture, named a second time
        self._written.add(place)
        make_folder(place.parent)
        for face in result.record.faces:
            crop = cut_face(result.image, face, self._crop)
            for suffix, data in crop.files(source=result.record.source, face_id=face.face_id).items():
                write_bytes(f"{place}_{face.face_id}{suffix}", data, self._overwrite)
