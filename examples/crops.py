"""Each face upright and of one size: python examples/crops.py PICTURE"""

import sys

from facealign_cli import Aligner, crop_face, read_image, write_image

image = read_image(sys.argv[1])
for face in Aligner().align(image):
    crop = crop_face(image, face, 256)  # (256, 256, 3) uint8, BGR
    write_image(f"face-{face.face_id}.png", crop, overwrite=True)
    print(f"face-{face.face_id}.png")
