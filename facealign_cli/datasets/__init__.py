"""Readers of annotated faces: 300-W folders and dlib's XML become samples."""

from facealign_cli.datasets.base import LeftOut, Sample
from facealign_cli.datasets.read import read_samples

__all__ = ["LeftOut", "Sample", "read_samples"]
