"""Which predictors `peers.py` measures, what it keeps of each, and its table."""

from __future__ import annotations

from dataclasses import dataclass, field

FITTING_FACES = 160
"""Training faces on which a peer's box and its mean offset are found."""
ROUNDS = 9
"""Interleaved rounds that times are the median of."""
COLUMNS = ("inter-pupil", "inter-pupil, median", "inter-ocular", "inter-pupil, offset removed")


@dataclass(frozen=True)
class Candidate:
    """A predictor to measure. terms: licence and training data. install: the line that brings it. model: if ours."""

    name: str
    title: str
    points: str
    terms: str
    install: str
    node: bool = False
    model: str | None = None


CANDIDATES: tuple[Candidate, ...] = (
    *(
        Candidate(name, title, "68", "research only; the rest of these training faces", "pip install .", model=model)
        for name, title, model in (
            ("facealign", "**facealign**, `dan-light`", "dan-light"),
            ("facealign-int8", "**facealign**, `dan-light-int8`", "dan-light-int8"),
            ("facealign-large", "**facealign**, `dan-large`", "dan-large"),
        )
    ),
    *(
        Candidate(
            name,
            title,
            "68",
            "research only; iBUG 300-W, **these very faces among them**",
            "pip install setuptools face_recognition_models dlib-bin",
        )
        for name, title in (
            ("dlib", "dlib, 68-point trees"),
            ("dlib-own", "the same in its own HOG detector's box"),
        )
    ),
    Candidate(
        "mediapipe",
        "MediaPipe face mesh",
        "468 → 68",
        "Apache 2.0; Google's own faces",
        "pip install mediapipe==0.10.21",
    ),
    Candidate(
        "mediapipe-net",
        "its mesh network alone, by LiteRT",
        "468 → 68",
        "Apache 2.0; Google's own faces",
        "pip install mediapipe==0.10.21 ai-edge-litert",
    ),
    *(
        Candidate(
            name,
            title,
            "68",
            "MIT; 35,000 faces that its authors do not name",
            "npm install @vladmandic/face-api @tensorflow/tfjs @tensorflow/tfjs-backend-wasm",
            node=True,
        )
        for name, title in (("face-api", "face-api.js, 68 points"), ("face-api-tiny", "face-api.js, 68 points, tiny"))
    ),
)


@dataclass
class Result:
    """What was measured of one predictor. errors: column → percent. ms: threads → ms a face."""

    candidate: Candidate
    missing: str | None = None
    version: str = ""
    option: str = ""
    found: int = 0
    faces: int = 0
    errors: dict[str, float] = field(default_factory=dict)
    ms: dict[int, float] = field(default_factory=dict)
    rss_mib: float = 0.0
    file_mib: float = 0.0


def table(results: list[Result], rounds: int = ROUNDS) -> str:
    """Markdown: one row a predictor, then what to know about the numbers."""
    head = ["predictor", "points", "faces", *(f"NME % {name}" for name in COLUMNS)]
    head += ["ms a face, 1 thread", "2 threads", "memory MiB", "file MiB", "licence; trained on"]
    lines = [f"| {' | '.join(head)} |", "| --- | --- |" + " ---: |" * (len(head) - 3) + " --- |"]
    lines += [row(result) for result in results]
    return "\n".join([*lines, "", *notes(results, rounds)]) + "\n"


def row(result: Result) -> str:
    """A predictor's line of the table; one that is missing says how to get it."""
    candidate = result.candidate
    if result.missing:
        cells = [f"not measured: `{candidate.install}`", *["–"] * (len(COLUMNS) + 4)]
    else:
        cells = [f"{result.found}/{result.faces}", *(f"{result.errors[name]:.2f}" for name in COLUMNS)]
        cells += [f"{result.ms[threads]:.1f}" for threads in (1, 2)]
        cells += [f"{result.rss_mib:.0f}", f"{result.file_mib:.1f}"]
    return f"| {' | '.join([candidate.title, candidate.points, *cells, candidate.terms])} |"


def notes(results: list[Result], rounds: int) -> list[str]:
    """The lines under the table."""
    measured = [r for r in results if not r.missing]
    lines = [
        "Held-out 300-W faces, organisers' boxes; means over the faces found. facealign's weights were not trained on",
        "these faces, but chosen by their error on them; dlib's were trained on them. What each peer does with the box",
        f"was chosen on {FITTING_FACES} training faces, as was the mean offset of each point that the last error",
        "column takes away (schemes differ: MediaPipe's mesh has no ibug points, and its jaw line runs elsewhere).",
        f"Times: from decoded pixels and box to points, medians of {rounds} interleaved rounds. dlib's predictor has",
        "one thread only. MediaPipe's mesh, and dlib in its own box, detect the face themselves, in these times too;",
        "MediaPipe's networks run on one thread whatever is asked for.",
        "",
    ]
    lines += [f"- {r.candidate.title} {r.version}: box: {r.option}" for r in measured]
    lines += [f"- {r.candidate.title}: {r.missing}" for r in results if r.missing]
    ours = next((r for r in measured if r.candidate.name == "facealign"), None)
    if ours:
        others = [r for r in measured if r is not ours]
        ratios = [f"{r.candidate.title} {r.ms[1] / ours.ms[1]:.2f}, {r.ms[2] / ours.ms[2]:.2f}" for r in others]
        lines.append(f"- time over facealign's, 1 thread, 2 threads: {'; '.join(ratios) or 'no peer measured'}")
    return lines
