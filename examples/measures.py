"""Head pose, eyes, mouth and blinks of a clip: python examples/measures.py CLIP"""

import math
import sys

from facealign_cli import find_blinks, measure_results, track_video

faces = list(measure_results(track_video(sys.argv[1])))  # or of read_results("rows.csv"), which no network makes again
for face in faces:
    if face.pose is None or face.measures.eye_opening is None:  # turned too far to be measured
        continue
    _, yaw, _ = map(math.degrees, face.pose.rotation_rad)
    print(f"{face.timestamp_s:.3f} s: person {face.face_id}, yaw {yaw:.0f}°, eyes {face.measures.eye_opening:.2f}")
for blink in find_blinks(faces):
    print(f"person {blink.face_id} blinks at {blink.peak_s:.2f} s")
