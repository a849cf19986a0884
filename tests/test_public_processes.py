"""An Aligner in other processes and threads, and scripts as people write them first."""

from __future__ import annotations

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

import facealign_cli
from facealign_cli import Aligner, FacealignError, InputError, MissingDependency, create_detector


@pytest.fixture
def photo(tmp_path: Path, astronaut: np.ndarray) -> Path:
    cv2.imwrite(str(tmp_path / "astronaut.png"), astronaut)
    return tmp_path / "astronaut.png"


SHIPPED = ("yunet", "mtcnn", "dlib-hog")


class TestProcessesAndThreads:
    @pytest.fixture
    def detector(self, request: pytest.FixtureRequest) -> str:
        """The name of a detector that can be had here without a file of the user's."""
        try:
            create_detector(request.param)
        except (InputError, MissingDependency) as error:
            pytest.skip(str(error))
        return str(request.param)

    @pytest.mark.long
    @pytest.mark.parametrize("detector", SHIPPED, indirect=True)
    def test_a_pickled_aligner_is_the_same(self, detector: str, astronaut: np.ndarray) -> None:
        aligner = Aligner("dan-light", detector, device="cpu")
        (face,) = aligner.align(astronaut)
        copy = pickle.loads(pickle.dumps(aligner))
        assert copy.model.provider == aligner.model.provider
        (other,) = copy.align(astronaut)
        np.testing.assert_array_equal(other.landmarks, face.landmarks)
        padded = pickle.loads(pickle.dumps(aligner.model.padded_to(4)))
        assert (padded.batch_size, padded.padded) == (4, True)

    @pytest.mark.parametrize("detector", SHIPPED, indirect=True)
    def test_threads_share_an_aligner(self, detector: str, astronaut: np.ndarray) -> None:
        aligner = Aligner(detector=detector, device="cpu")
        face = astronaut[20:260, 100:340]
        pictures = [np.ascontiguousarray(face[: 240 - 4 * i, : 240 - 3 * i]) for i in range(12)] * 2
        expected = [aligner.align(picture) for picture in pictures]
        assert sum(map(len, expected)) >= 20
        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(aligner.align, pictures))
        for faces, others in zip(found, expected, strict=True):
            assert [f.bbox for f in faces] == [f.bbox for f in others]
            for one, other in zip(faces, others, strict=True):
                np.testing.assert_array_equal(one.landmarks, other.landmarks)


SCRIPT = """
from facealign_cli import BatchOptions, run_batch, evaluate
{guard}
{body}
"""
RUN = 'print(run_batch("pictures", BatchOptions("rows", fmt="jsonl", workers={workers})).done)'


class TestPlainScripts:
    """As people write them first: without `if __name__ == "__main__":`."""

    @pytest.fixture
    def folder(self, tmp_path: Path, photo: Path) -> Path:
        (tmp_path / "pictures").mkdir()
        (tmp_path / "pictures" / "a.png").write_bytes(photo.read_bytes())
        return tmp_path

    def run(self, folder: Path, text: str) -> subprocess.CompletedProcess[str]:
        (folder / "script.py").write_text(text)
        return subprocess.run(
            [sys.executable, "script.py"], cwd=folder, capture_output=True, text=True, check=False, timeout=120
        )

    def test_batch_needs_no_guard_without_workers(self, folder: Path) -> None:
        done = self.run(folder, 'from facealign_cli import run_batch\nprint(run_batch("pictures", "rows").done)')
        assert (done.stdout, done.returncode) == ("1\n", 0), done.stderr
        assert list((folder / "rows").glob("part-*.parquet"))

    @pytest.mark.long
    def test_a_missing_guard_is_named(self, folder: Path) -> None:
        done = self.run(folder, SCRIPT.format(guard="", body=RUN.format(workers=2)))
        assert done.returncode == 1
        assert '`if __name__ == "__main__":`' in done.stderr.splitlines()[-1]
        assert "workers=0" in done.stderr.splitlines()[-1]
        assert "is locked" not in done.stderr and "another run" not in done.stderr

    def test_with_the_guard_it_runs(self, folder: Path) -> None:
        body = "    " + RUN.format(workers=1)
        done = self.run(folder, SCRIPT.format(guard='if __name__ == "__main__":', body=body))
        assert (done.stdout, done.returncode) == ("1\n", 0), done.stderr

    def test_other_errors_of_a_job_are_no_matter_of_the_guard(self, folder: Path) -> None:
        with pytest.raises(FacealignError, match="no such file or folder"):
            facealign_cli.run_batch(folder / "missing", folder / "rows")
