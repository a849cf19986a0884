"""An evaluation of three faces."""

from __future__ import annotations

import pytest

from facealign_cli.evaluation.base import Irregularity, Prediction
from facealign_cli.evaluation.figures import Evaluation
from tests.evaluation.faces import folder, moved, run


@pytest.fixture
def evaluation() -> Evaluation:
    names = folder("lfpw/testset", 2, moved(1, 4)) | {"ibug/x.jpg": Prediction("missed", detail='"=1+1"')}
    return run(names, irregularities=[Irregularity("extra prediction", "y.pts", "why")], threshold=0.1, split="all")
