"""What is known of the astronaut's picture, which the fixture `astronaut` in conftest.py gives."""

from __future__ import annotations

from facealign_cli.boxes import BBox, Detection

FACE = Detection(BBox(177, 87, 266, 178), 0.9)
"""Her landmarks' box, by eye."""
