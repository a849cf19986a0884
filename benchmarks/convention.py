"""Where the labels of a data set stand on a head, and where a model, taught by 300-W's hand-made ones, sees them.

The landmarks of AFLW2000-3D are places on a fitted 3D head. They stand elsewhere than people put them onto the pictures
of 300-W, the same on every head, and that is no error of a face. An error that a model makes on every head cannot be
told from it.
"""

from __future__ import annotations

import numpy as np

from facealign_cli.landmarks import INNER_WITHOUT_BRIDGE

INNER = np.isin(np.arange(68), INNER_WITHOUT_BRIDGE)
"""(68,) the points that such data sets define as 300-W does: not the jaw, nor the bridge of the nose."""


def convention(missed: np.ndarray, yaw: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Where labels stand from a model's landmarks on heads turned by `of` (M,) degrees, (M, K, 2) in sizes of the face.

    Each point's difference is the same on every head, (right, down, in depth), and is seen from the side as far as the
    head is turned; the three are those that fit best to `missed` (N, K, 2) on heads turned by `yaw` (N,).
    """
    turned, wanted = (np.stack([np.cos(a), np.sin(a)], axis=1) for a in (np.radians(yaw), np.radians(of)))
    right, *_ = np.linalg.lstsq(turned, missed[:, :, 0], rcond=None)  # (2, K)
    down = np.broadcast_to(missed[:, :, 1].mean(axis=0), (len(of), missed.shape[1]))
    return np.stack([wanted @ right, down], axis=2)
