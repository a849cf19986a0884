"""The exception tree."""

from __future__ import annotations

import copy
import pickle

import pytest

from facealign_cli.errors import ArgumentError, FormatError, MissingDependency, MissingPackage


@pytest.mark.parametrize(
    "error",
    [
        ArgumentError("bbox: it is empty"),
        FormatError("a.json: not JSON"),
        MissingDependency("Parquet", "pyarrow", "parquet"),
        MissingPackage("the detector", "dlib", "it is not installed"),
    ],
)
def test_an_error_comes_back_from_another_process(error: Exception) -> None:
    for same in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (type(same), str(same), vars(same)) == (type(error), str(error), vars(error))
