"""Landmarks in a box that is known already: python examples/own_boxes.py PICTURE X1 Y1 X2 Y2"""

import sys

from facealign_cli import Aligner, BoxCalibration, create_detector

picture, box = sys.argv[1], [float(value) for value in sys.argv[2:6]]
aligner = Aligner()

# tuples, lists or an (N, 4) array: boxes that the landmarks fill, from the brows to the chin
(face,) = aligner.align_boxes(picture, [box])
print("tight box:", face)

# boxes of a detector are larger or smaller than that; how much so, its calibration says
(face,) = aligner.align_boxes(picture, [box], create_detector("mtcnn").calibration)
print("taken for MTCNN's box:", face)

# or say so yourself: the landmarks begin at a quarter of this box's height
(face,) = aligner.align_boxes(picture, [box], BoxCalibration(top=0.25))
print("with a forehead:", face)
