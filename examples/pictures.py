"""Landmarks of picture files, written as JSON and drawn: python examples/pictures.py PICTURE..."""

import sys

from facealign_cli import Aligner, align_pictures, draw_overlay, write_image, write_results

records = []
for number, result in enumerate(align_pictures(sys.argv[1:], Aligner())):
    record = result.record
    records.append(record)  # status is "ok", "no_face" or "error"; a bad file does not stop the others
    print(record.source, record.status, record.error or "")
    for face in record.faces:
        print("  ", face, "nose tip:", face.landmarks[30])
    if result.image is not None:
        write_image(f"drawn-{number}.jpg", draw_overlay(result.image, record.faces), overwrite=True)

write_results("faces.json", records, overwrite=True)  # or faces.csv, faces.jsonl, faces.parquet
