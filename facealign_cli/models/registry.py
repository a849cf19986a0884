"""The model registry: name → file, sha256, licence, scheme, figures. The files travel with the package.

`models.json` lies beside the weights: {"default": name, "models": {name: {file, sha256, licence, summary, figures}}}.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from facealign_cli.errors import InputError, ModelError, OutputError, in_python
from facealign_cli.files.documents import read_json, structured
from facealign_cli.files.output import check_output, write_bytes
from facealign_cli.landmarks import SCHEME
from facealign_cli.models.dan import DanModel

INDEX = "models.json"
MAX_INDEX_BYTES = 16 << 20


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, hexadecimal. Raises OSError."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True)
class ModelEntry:
    """A shipped model. figures: name → value, as the card states them; multiply_adds: of one face."""

    name: str
    path: Path
    sha256: str
    licence: str
    summary: str
    scheme: str = SCHEME
    multiply_adds: int = 0
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def card(self) -> Path:
        """The model card, Markdown."""
        return self.path.with_suffix(".md")

    def verify(self) -> None:
        """Raise ModelError if the file is missing or its content is not the one that was shipped."""
        try:
            if self.path.exists() and not (self.path.is_file() or self.path.is_dir()):
                raise ModelError(f"model {self.name}: {self.path} is a device or a pipe, not a file")
            found = sha256_of(self.path)
        except OSError as error:
            raise ModelError(f"model {self.name}: {self.path}: {error.strerror}") from error
        if found != self.sha256.lower():
            raise ModelError(
                f"model {self.name}: {self.path} is damaged: its sha256 is {found[:12]}…, expected {self.sha256[:12]}…"
            )


@dataclass(frozen=True)
class Registry:
    """The shipped models by name, and the default's name."""

    default: str
    models: dict[str, ModelEntry]

    def get(self, name: str) -> ModelEntry:
        """Raises InputError, which lists the known names."""
        if name not in self.models:
            raise InputError(f"unknown model {name!r}; known: {', '.join(self.models)}; or give an .onnx file")
        return self.models[name]


def models_folder() -> Path:
    """Where the weights lie: inside the installed package, or in the top-level `models/` of a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "weights", package.parent / "models"):
        if (folder / INDEX).is_file():
            return folder
    raise ModelError(f"no {INDEX} beside {package}: the installation is incomplete; install facealign again")


def read_registry(folder: Path | None = None) -> Registry:
    """The registry of a folder; by default, of the package's own models. Raises ModelError if it is broken."""
    folder = folder or models_folder()
    index = _read_index(folder / INDEX)
    models = {name: _entry(name, folder, values) for name, values in index.models.items()}
    if index.default not in models:
        raise ModelError(f"{folder / INDEX}: its default {index.default!r:.60} is not among its models")
    return Registry(index.default, models)


@dataclass(frozen=True)
class _IndexEntry:
    """What stands in the index of one model."""

    file: str
    sha256: str
    licence: str = ""
    summary: str = ""
    scheme: str = SCHEME
    multiply_adds: int = 0
    figures: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.file or "\0" in self.file or re.search("[\ud800-\udc7f\udd00-\udfff]", self.file):
            raise ValueError(f"file: expected a path, got {self.file!r:.60}")
        if not re.fullmatch("[0-9a-fA-F]{64}", self.sha256):
            raise ValueError(f"sha256: expected 64 hexadecimal digits, got {self.sha256!r:.80}")
        if self.multiply_adds < 0:
            raise ValueError(f"multiply_adds: expected 0 or more, got {self.multiply_adds}")


@dataclass(frozen=True)
class _Index:
    """What stands in the index."""

    default: str
    models: dict[str, _IndexEntry]

    def __post_init__(self) -> None:
        for name in self.models:
            if not name or not name.isprintable():
                raise ValueError(f"models: {name!r:.60} is no name of a model")


def _entry(name: str, folder: Path, values: _IndexEntry) -> ModelEntry:
    facts = {key: value for key, value in asdict(values).items() if key != "file"}
    return ModelEntry(name=name, path=folder / values.file, **facts)


def _read_index(index: Path) -> _Index:
    """Raises ModelError for whatever is wrong with it."""
    try:
        return structured(read_json(index, MAX_INDEX_BYTES), _Index)
    except InputError as error:
        raise ModelError(str(error)) from error
    except ValueError as error:
        raise ModelError(f"{index}: not a models.json that can be used: {error}") from error


def model_file(name: str | Path | None = None) -> Path:
    """The file of a shipped model (None: the default), its hash checked, or the .onnx file that is named.

    Raises InputError for an unknown name, ModelError for a damaged file.
    """
    if name is not None and (isinstance(name, Path) or str(name).lower().endswith(".onnx")):
        return Path(name)
    registry = read_registry()
    entry = registry.get(str(name) if name is not None else registry.default)
    entry.verify()
    return entry.path


def load_model(
    name: str | Path | None = None,
    *,
    device: str = "auto",
    threads: int = 1,
    batch_size: int = 16,
) -> DanModel:
    """Load a shipped model by its name, or any graph of facealign's by its file.

    name: None means the default model. The hash of a shipped model is checked. device, threads, batch_size: as for
    `DanModel`. Raises InputError for an unknown name, ModelError for a file that is no such graph, and DeviceError.
    """
    return DanModel(model_file(name), device=device, threads=threads, batch_size=batch_size)


def check_entry(index: Path, name: str, overwrite: bool = False, *, origin: str | None = None) -> None:
    """Raise what `enter_model` would raise, and OutputError for a name that is taken: to be asked before long work.

    origin: the model that a variant is made of, as `enter_variant` has it.
    """
    check_output(index, overwrite=True)
    models = _read_index(index).models if index.exists() else {}
    if origin is not None and origin not in models:
        raise ModelError(f"{index}: it has no entry {origin}")
    if name in models and not overwrite:
        raise OutputError(f"{index} has an entry {name} already; --overwrite{in_python('overwrite=True')} replaces it")


def enter_model(index: Path, path: Path, *, name: str, figures: dict[str, float], **facts: Any) -> None:
    """Enter a graph's file; an earlier entry of that name is replaced, and the first one is the default.

    facts: licence, summary, multiply_adds. Raises ModelError for a file that is no models.json, OutputError.
    """
    content: dict[str, Any] = {"default": name, "models": {}}
    if index.exists():
        _read_index(index)  # raises for one that could not be read again
        content = read_json(index)
    file = {"file": os.path.relpath(path, index.parent), "sha256": sha256_of(path)}
    content["models"][name] = {**file, **facts, "figures": figures}
    write_bytes(index, (json.dumps(content, indent=1) + "\n").encode(), overwrite=True)


def enter_variant(
    index: Path, path: Path, *, origin: str, name: str, difference: str, figures: dict[str, float]
) -> None:
    """Enter what was made of a graph that has an entry; its summary ends with the difference.

    Raises ModelError where `origin` has none, and as `enter_model`.
    """
    entry = _read_index(index).models.get(origin)
    if entry is None:
        raise ModelError(f"{index}: it has no entry {origin}")
    summary = f"{entry.summary}; {difference}"
    facts = {"licence": entry.licence, "multiply_adds": entry.multiply_adds}
    enter_model(index, path, name=name, figures=figures, summary=summary, **facts)
