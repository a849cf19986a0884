"""What a face does, from landmarks alone: openings of eyes and mouth, heights of brows, blinks. Runs no network."""

from facealign_cli.measures.base import MEASURES, FaceMeasures, MeasuredFace, measure_face, measure_results
from facealign_cli.measures.blinks import Blink, find_blinks

__all__ = ["MEASURES", "Blink", "FaceMeasures", "MeasuredFace", "find_blinks", "measure_face", "measure_results"]
