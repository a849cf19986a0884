"""Readers of annotated faces: 300-W folders and the files of labelling tools become samples."""

from facealign_cli.datasets.base import LeftOut, Sample
from facealign_cli.datasets.read import held_out_samples, read_samples, unused_files

__all__ = ["LeftOut", "Sample", "held_out_samples", "read_samples", "unused_files"]
