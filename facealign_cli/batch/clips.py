"""Many clips: each becomes a table of its own in a mirrored tree, and a row of clips.csv.

`ClipWork` is to clips what `work.PictureWork` is to pictures, so that a job of clips is listed, shared out, resumed and
retried as one of pictures is, on this machine or on Ray. A clip is done or not: what a killed run left of one is made
again. The rows of the job itself, `part-….jsonl` (on Ray `part-ray….parquet`, a clip in each), hold for each clip the
frame in which a face is surest, or its error.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from facealign_cli.aligner import Aligner
from facealign_cli.arguments import check_number
from facealign_cli.batch.base import Outcome
from facealign_cli.batch.job import BatchOptions
from facealign_cli.batch.progress import Progress
from facealign_cli.batch.run import absolute, run_batch
from facealign_cli.batch.sources import Sources
from facealign_cli.batch.work import WorkOptions
from facealign_cli.crops import CropOptions
from facealign_cli.errors import FacealignError, FormatError, InputError, OutputError
from facealign_cli.files.names import names_to_texts, texts_to_names
from facealign_cli.files.output import UNFINISHED, atomic_write, make_folder, safe_tree, write_bytes
from facealign_cli.files.storage import UrlStorage, is_url
from facealign_cli.formats import jsonl, parquet
from facealign_cli.formats.base import get_format
from facealign_cli.formats.csv import write_cells
from facealign_cli.formats.growing import dump_of_rows
from facealign_cli.formats.job_folder import SUMMARY, TABLES
from facealign_cli.measures.clip import CLIP_COLUMNS, ClipSummariser, ClipSummary, passing
from facealign_cli.measures.tables import write_blinks, write_measures
from facealign_cli.records import FrameResult
from facealign_cli.video import VideoSource, open_source
from facealign_cli.video.base import MAX_FRAME_PIXELS
from facealign_cli.video.cut import CutOptions, FaceCutter
from facealign_cli.video.thinned import check_thinning
from facealign_cli.video.track import VideoOptions, overlay_video, track_video

_ALIVE_EVERY = 25  # frames between two signs of life


@dataclass(frozen=True)
class ClipOptions:
    """What becomes of a clip. output: the job's folder. fmt: of its table. video: how it is tracked.

    overlay_folder: clips with the faces drawn, as .mp4. crops_folder: a steady clip of each person, as `video.cut` has
    it, in a folder for each clip; crop: how. every, most_fps, max_pixels: which frames are taken, and how large they
    may be, as `open_source` has it.
    `….measures.csv` and `….blinks.csv` stand beside each table. Raises InputError.
    """

    output: str
    fmt: str = "csv"
    video: VideoOptions = field(default_factory=VideoOptions)
    overlay_folder: str | None = None
    crops_folder: str | None = None
    crop: CropOptions = field(default_factory=CropOptions)
    every: int = 1
    most_fps: float | None = None
    max_pixels: int = MAX_FRAME_PIXELS

    def __post_init__(self) -> None:
        check_number("max_pixels", self.max_pixels, 1, whole=True)
        check_thinning(self.every, self.most_fps)
        dump_of_rows(get_format(self.fmt))
        for place in (self.output, self.overlay_folder, self.crops_folder):
            if place is not None and is_url(place):
                raise InputError(f"{place}: tables of clips are written to local folders")

    def config(self) -> dict[str, Any]:
        """All that decides the tables, as JSON values."""
        smoothing = self.video.smoothing
        return {
            "clips": {
                "format": self.fmt,
                "tracking": asdict(self.video.tracking),
                "smoothing": None if smoothing is None else {type(smoothing).__name__: asdict(smoothing)},
                "pose": None if self.video.pose is None else asdict(self.video.pose),
                "overlay": self.overlay_folder is not None,
                "quality": self.video.quality,
                "crop": None if self.crops_folder is None else [self.crop.preset, self.crop.side],
                "every": self.every,
                "most_fps": self.most_fps,
                "max_pixels": self.max_pixels,
            }
        }


class ClipWork:
    """Turns clips into outcomes and writes their tables; holds the networks, so one is made per process.

    With one thread (`WorkOptions.threads`) it takes one processor; with more, it reads and tracks beside each other.
    """

    def __init__(self, work: WorkOptions, clips: ClipOptions) -> None:
        import cv2

        cv2.setNumThreads(work.threads)
        self._clips = replace(clips, video=replace(clips.video, beside=work.threads > 1))
        self._aligner = Aligner(
            work.model, work.detector, options=work.detector_options, device=work.device, threads=work.threads
        )
        self.cpu_s: dict[str, float] = defaultdict(float)

    def process_chunks(
        self, chunks: Iterable[Sequence[str]], on_picture: Callable[[], None] = lambda: None
    ) -> Iterator[list[Outcome]]:
        """The outcomes of one chunk after another. on_picture: called now and then, as a sign of life.

        Raises OutputError where a table cannot be written.
        """
        for paths in chunks:
            yield [self._outcome(path, on_picture) for path in paths]

    def _outcome(self, path: str, on_picture: Callable[[], None]) -> Outcome:
        begin, cpu = time.perf_counter(), time.thread_time()
        try:
            best = self._track(path, on_picture)
        except OutputError:  # nowhere to write: no fault of the clip
            raise
        except (FacealignError, MemoryError) as error:
            best = FrameResult.of_error(path, str(error) or "out of memory")
        except Exception as error:  # noqa: BLE001 - a clip that nobody foresaw must not end a job of many
            best = FrameResult.of_error(path, f"{path}: unexpected {type(error).__name__}: {error}")
        self.cpu_s["align"] += time.thread_time() - cpu
        on_picture()
        return Outcome(best, {"align_ms": round((time.perf_counter() - begin) * 1000, 3)})

    def _track(self, path: str, on_picture: Callable[[], None]) -> FrameResult:
        """Write the clip's tables; returns the record of the frame in which a face is surest."""
        fmt, clips = get_format(self._clips.fmt), self._clips
        table, pose = _place(clips.output, path), clips.video.pose
        summariser = ClipSummariser(path, None if pose is None else pose.focal_px, measured=True)
        best, suffix = _Best(path, on_picture), fmt.extensions[0] if fmt.extensions else ".csv"
        with (
            _local(path, table) as file,
            contextlib.closing(self._records(path, file)) as records,
            self._cutter(path) as cutter,
        ):
            seen = passing(records, summariser)
            fmt.write(f"{table}{suffix}", best.of(seen if cutter is None else cutter.passing(seen)), True)
            if cutter is not None:
                self._cut(file, cutter, on_picture)
        write_measures(f"{table}.measures.csv", summariser.measures, True)
        write_blinks(f"{table}.blinks.csv", summariser.blinks(), True)
        summary = json.dumps(names_to_texts(summariser.summary().values()), ensure_ascii=False).encode()
        write_bytes(f"{table}{SUMMARY}", summary, True)
        return best.record

    def _cutter(self, path: str) -> contextlib.AbstractContextManager[FaceCutter | None]:
        """What cuts persons out, if that is wanted."""
        clips = self._clips
        if clips.crops_folder is None:
            return contextlib.nullcontext()
        place = _place(clips.crops_folder, path, "")
        return contextlib.closing(FaceCutter(place, CutOptions(clips.crop), overwrite=True))

    def _cut(self, file: str, cutter: FaceCutter, on_picture: Callable[[], None]) -> None:
        with contextlib.closing(self._open(file, sound=True)) as source:
            for i, _ in enumerate(cutter.cut(source)):
                if i % _ALIVE_EVERY == 0:
                    on_picture()

    def _open(self, file: str, *, sound: bool) -> VideoSource:
        every, most_fps, max_pixels = self._clips.every, self._clips.most_fps, self._clips.max_pixels
        return open_source(file, sound=sound, every=every, most_fps=most_fps, max_pixels=max_pixels)

    def _records(self, path: str, file: str) -> Generator[FrameResult, None, None]:
        """The clip's records, drawn into a clip if that is wanted. file: where the clip lies on this machine."""
        for record in self._tracked(path, file):
            error = None if record.error is None else record.error.replace(file, path)
            yield record if file == path else replace(record, source=path, error=error)

    def _tracked(self, path: str, file: str) -> Generator[FrameResult, None, None]:
        clips = self._clips
        with contextlib.closing(self._open(file, sound=clips.overlay_folder is not None)) as source:
            if clips.overlay_folder is None:
                with contextlib.closing(track_video(source, self._aligner, clips.video)) as records:
                    yield from records
                return
            place = _place(clips.overlay_folder, path, "")
            yield from overlay_video(source, f"{place}.mp4", self._aligner, clips.video, overwrite=True)


@contextlib.contextmanager
def _local(path: str, table: Path) -> Iterator[str]:
    """Where a clip lies on this machine: that of a URL is copied to beside its table, and removed afterwards.

    What a killed run leaves of the copy goes at the job's end. Raises InputError, which names the clip as it was given.
    """
    if not is_url(path):
        yield path
        return
    storage = UrlStorage(path)
    place = storage.local_path(path)
    copy = table.with_name(f"{UNFINISHED}{table.name}")
    try:
        if place is None:
            storage.fetch(path, copy)
        yield place or str(copy)
    except InputError as error:
        raise InputError(str(error).replace(place or str(copy), path)) from error
    finally:
        copy.unlink(missing_ok=True)


class _Best:
    """Passes records on, and keeps the one in which a face is surest."""

    def __init__(self, source: str, on_picture: Callable[[], None]) -> None:
        self.record, self._surest = FrameResult(source, "no_face"), -1.0
        self._on_picture, self._frames = on_picture, 0

    def of(self, records: Iterable[FrameResult]) -> Iterator[FrameResult]:
        """The records. Raises InputError, after the last one, if there was none."""
        for record in records:
            self._frames += 1
            if self._frames % _ALIVE_EVERY == 0:
                self._on_picture()
            sure = max((face.confidence for face in record.faces), default=-1.0)
            if sure > self._surest:
                self.record, self._surest = record, sure
            yield record
        if not self._frames:
            raise InputError(f"{self.record.source}: no frames in it")


def _place(folder: str, path: str, inner: str = TABLES) -> Path:
    """What the names of a clip's files begin with, in a tree that mirrors the clips'; its folder is made."""
    place = Path(folder, inner, safe_tree(path))
    make_folder(place.parent)
    return place


def run_clips(
    sources: Sources,
    clips: ClipOptions,
    options: BatchOptions,
    work: WorkOptions | None = None,
    *,
    report: Callable[[Progress], None] = lambda progress: None,
    stop: threading.Event | None = None,
) -> tuple[Progress, list[ClipSummary]]:
    """Run a job of clips to its end, or on to it, and write its clips.csv; returns the rows of that.

    sources: with `clips`. options: their `output` and `fmt` do not count. work: the model and the detector. On Ray,
    every node has to see the clips and the folders under the same names. There is no clips.csv, and no rows, of a run
    that was stopped early. Raises as `run.run_batch` does.
    """
    work, options = work or WorkOptions(), replace(options, output=clips.output, batch_size=1, in_flight=1)
    if options.engine == "ray":  # a file for each clip: what is finished counts at once
        clips, options = _for_every_node(clips), replace(options, fmt="parquet", shard_rows=1)
    else:
        options = replace(options, fmt="jsonl")
    skip = tuple(place for place in (clips.overlay_folder, clips.crops_folder) if place is not None)
    replace(sources, clips=True).check_apart(skip)
    progress = run_batch(
        replace(sources, clips=True, skip=(*sources.skip, *skip)),
        options,
        work,
        report=report,
        stop=stop,
        make_work=partial(ClipWork, work, clips),
        own_config=clips.config(),
    )
    if progress.stopped is not None:
        return progress, []
    for folder in (Path(clips.output, TABLES), *map(Path, skip)):
        for half in folder.rglob(f"{UNFINISHED}*"):  # what killed runs were writing
            half.unlink(missing_ok=True)
    return progress, write_clip_table(clips.output)


def _for_every_node(clips: ClipOptions) -> ClipOptions:
    """The same, with folders that do not depend on where a process stands."""
    overlays, crops = absolute(clips.overlay_folder), absolute(clips.crops_folder)
    return replace(clips, output=os.path.abspath(clips.output), overlay_folder=overlays, crops_folder=crops)


def write_clip_table(output: str) -> list[ClipSummary]:
    """Write OUT/clips.csv of a finished job: a row for each clip, also for one that failed. Returns the rows.

    Raises InputError, FormatError for a job's folder that is damaged, OutputError.
    """
    summaries = []
    for part in sorted([*Path(output).glob("part-*.jsonl"), *Path(output).glob("part-*.parquet")]):
        for record in parquet.read(part) if part.suffix == ".parquet" else jsonl.iterate(part):
            if record.status == "error":
                summaries.append(ClipSummary(record.source, "error", record.error))
                continue
            summaries.append(_read_summary(_place(output, record.source)))
    summaries.sort(key=lambda summary: summary.source)
    with atomic_write(Path(output, "clips.csv"), overwrite=True) as stream:
        write_cells(stream, CLIP_COLUMNS, [list(summary.values().values()) for summary in summaries])
    return summaries


def _read_summary(table: Path) -> ClipSummary:
    path = Path(f"{table}{SUMMARY}")
    try:
        return ClipSummary(**texts_to_names(json.loads(path.read_bytes().decode("utf-8", "surrogateescape"))))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; --restart makes the job anew") from error
    except (ValueError, TypeError) as error:
        raise FormatError(f"{path}: not the summary of a clip: {error}") from error
