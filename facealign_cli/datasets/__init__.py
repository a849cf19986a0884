"""Readers of annotated faces: 300-W folders and dlib's XML become samples."""

from facealign_cli.datasets.base import LeftOut, Sample
from facealign_cli.datasets.read import held_out_samples, read_samples

__all__ = ["LeftOut", "Sample", "held_out_samples", "read_samples"]
