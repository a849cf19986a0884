"""Faces followed through the frames of a loop of your own: python examples/video_frames.py CLIP"""

import sys

from facealign_cli import Aligner, FaceSmoother, Smoothing, Tracker, VideoFrame, open_source

tracker = Tracker(Aligner())  # one for each clip, and one thread for each tracker
smoother = FaceSmoother(Smoothing())

with open_source(sys.argv[1]) as clip:  # frames may come from anywhere, as long as each has its time
    for frame in clip:
        if not isinstance(frame, VideoFrame) or frame.image_bgr is None:
            continue
        faces = smoother(tracker.update(frame.image_bgr, frame.timestamp_s), frame.timestamp_s)
        for face in faces:
            print(f"{frame.timestamp_s:.3f} s: person {face.track_id}, nose tip {face.landmarks[30].round(1)}")
