"""The house rules of DESIGN.md: who may import whom, what stays unloaded, and that the library does not print."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import facealign_cli

PACKAGE = "facealign_cli"
ROOT = Path(facealign_cli.__file__).resolve().parent

FLOORS: tuple[tuple[str, ...], ...] = (
    ("arrays", "errors", "protobuf", "version"),
    ("landmarks",),
    ("arguments", "boxes"),
    (
        "files",
        "geometry",
        "onnx_convolutions",
        "onnx_sizes",
        "plugins",
        "processes",
        "records",
        "runtime",
        "schemes",
    ),
    ("pose", "quality"),
    ("crops", "formats", "metrics", "overlay"),
    ("datasets", "detectors", "measures", "notebook"),
    ("convert", "models"),
    ("placing",),
    ("aligner",),
    ("evaluation", "video"),
    ("batch",),
    ("doctor", "report", "review", "training"),
    ("cli",),
)
"""Modules and packages, lowest floor first; imports go to lower floors only. DESIGN.md shows the same."""

FLOOR_OF = {name: number for number, floor in enumerate(FLOORS) for name in floor}

DOORS = {PACKAGE, f"{PACKAGE}.__main__"}
"""They open onto the highest floors, late; that they load nothing early is tested below."""

SHARED = {
    "measures": {"base", "blinks"},
    "formats": {"base", "codec", "labelling"},
    "video": {
        "base",
        "clock",
        "colour",
        "cuts",
        "foresight",
        "intact",
        "lookahead",
        "opening",
        "packets",
        "sink",
        "smoothing",
        "sound",
        "thinned",
        "tracking",
        "tracks",
        "upright",
        "whole",
    },
    "evaluation": {"base", "figures", "compare", "foreign"},
    "models": {"dan", "registry"},
    "files": {
        "arrays",
        "base",
        "depth",
        "documents",
        "header",
        "header_base",
        "jpeg",
        "jpeg2000",
        "local",
        "output",
        "picture_arrays",
        "png",
        "tiff",
    },
    "batch": {"base", "keys", "lists", "pool", "session", "shard_files", "shard_index", "walk"},
    "datasets": {"base", "beside", "splits"},
    "detectors": {"base", "box_files", "given"},
    "cli": {"console", "cropping", "help", "jobs", "kinds", "options", "process", "tracking"},
    "report": {"base", "series", "style"},
    "review": {"pictures", "session"},
}
"""What siblings in a package may import; elsewhere it is `base` alone."""

FRONTS = {
    f"{PACKAGE}.datasets.read",
    f"{PACKAGE}.batch.clips",
    f"{PACKAGE}.cli.main",
    f"{PACKAGE}.batch.job",
    f"{PACKAGE}.batch.run",
    f"{PACKAGE}.formats.growing",
    f"{PACKAGE}.video.cut",
    f"{PACKAGE}.video.track",
    f"{PACKAGE}.evaluation.dataset",
    f"{PACKAGE}.report.clip",
}
"""They choose among their siblings, as a package's __init__ may."""

TRAINING_ONLY = {"torch", "h5py", "onnx"}
HEAVY = {"torch", "onnxruntime", "cv2", "dlib", "matplotlib", "pyarrow", "ray", "h5py", "onnx", "scipy", "av", "fsspec"}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


TREES = {name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in sorted(ROOT.rglob("*.py"))}
NODES = {name: tuple(ast.walk(tree)) for name, tree in TREES.items()}
"""Every node of every module, walked once for all tests."""


def imports_of(module: str) -> Iterator[str]:
    """Full names of what a module imports, at its top or late; a name from a package is the module of that name."""
    for node in NODES[module]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are written out in full"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in TREES else str(node.module)


def own_imports() -> Iterator[tuple[str, str]]:
    """Pairs of our modules: importer, imported. The package itself gives only its version, to anyone."""
    for module in TREES:
        for imported in imports_of(module):
            if imported.startswith(f"{PACKAGE}.") and module not in DOORS:
                yield module, imported


def part(module: str) -> str:
    """The module or package right below the root."""
    return module.split(".")[1]


def test_every_module_has_its_floor() -> None:
    assert {part(module) for module in TREES if module not in DOORS} == set(FLOOR_OF)


def test_the_wheel_holds_every_package() -> None:
    """A package that setup.cfg does not name is missing from the wheel, and nothing here would notice."""
    setup = configparser.ConfigParser()
    setup.read(ROOT.parent / "setup.cfg", encoding="utf-8")
    packages = {".".join(path.parent.relative_to(ROOT.parent).parts) for path in ROOT.rglob("__init__.py")}
    assert set(setup["options"]["packages"].split()) == packages | {f"{PACKAGE}.weights"}


def test_design_shows_these_floors() -> None:
    text = (ROOT.parent / "DESIGN.md").read_text(encoding="utf-8")
    shown = re.findall(r"^ ?(\d+)  (\w+)(?:\.py|/) ", text, re.MULTILINE)
    assert {name: int(number) for number, name in shown} == FLOOR_OF


def test_imports_go_downwards() -> None:
    wrong = [
        f"{module} imports {imported}"
        for module, imported in own_imports()
        if part(module) != part(imported) and FLOOR_OF[part(imported)] >= FLOOR_OF[part(module)]
    ]
    assert not wrong


def test_only_registries_and_records_import_by_name() -> None:
    """Such an import is not seen above: registries look for their siblings, and a record offers methods from above."""
    users = {
        module
        for module, nodes in NODES.items()
        if any("import_module" in (getattr(node, field, None) for field in ("id", "attr", "name")) for node in nodes)
    }
    assert users == {f"{PACKAGE}.{name}" for name in ("detectors.base", "formats.base", "records")} | {PACKAGE}


def test_siblings_import_only_their_base() -> None:
    wrong = [
        f"{module} imports {imported}"
        for module, imported in own_imports()
        if part(module) == part(imported) != "training"
        and module.count(".") > 1  # a package's own __init__ may import all of it
        and module not in FRONTS
        and imported.split(".")[-1] not in SHARED.get(part(module), {"base"})
    ]
    assert not wrong


def test_training_has_no_circle() -> None:
    graph: dict[str, set[str]] = {}
    for module, imported in own_imports():
        if part(module) == part(imported) == "training":
            graph.setdefault(module, set()).add(imported)
    assert list(TopologicalSorter(graph).static_order())  # raises CycleError


def test_only_training_imports_torch() -> None:
    wrong = [
        f"{module} imports {imported}"
        for module in TREES
        for imported in imports_of(module)
        if imported.split(".")[0] in TRAINING_ONLY and not module.startswith(f"{PACKAGE}.training")
    ]
    assert not wrong


def test_only_runtime_imports_onnxruntime() -> None:
    """Else its telemetry would be on: `runtime.import_onnxruntime` switches it off before the first import."""
    wrong = [
        f"{module}:{node.lineno}"
        for module, nodes in NODES.items()
        for node in nodes
        if (isinstance(node, ast.Import) and any(alias.name.startswith("onnxruntime") for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and str(node.module).startswith("onnxruntime"))
    ]
    assert {place.partition(":")[0] for place in wrong} == {f"{PACKAGE}.runtime"}


@pytest.mark.parametrize(
    "code",
    [
        f"import {PACKAGE}",
        f"import {PACKAGE}.cli.main",
        f"import runpy, sys; sys.argv = ['{PACKAGE}', '--help']; runpy.run_module('{PACKAGE}', run_name='__main__')",
    ],
    ids=["import", "import the command", "--help"],
)
def test_nothing_heavy_is_loaded(code: str) -> None:
    tail = f"print('LOADED', *sorted({HEAVY!r} & set(sys.modules)))"
    script = f"import sys\ntry:\n    {code}\nexcept SystemExit as end:\n    assert not end.code\n{tail}"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT.parent, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED"
    assert ("--help" not in code) or "Usage" in done.stdout


def test_the_library_does_not_print() -> None:
    wrong = [
        f"{module}:{node.lineno}"
        for module, nodes in NODES.items()
        if not module.startswith(f"{PACKAGE}.cli")
        for node in nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "exit", "quit")
    ]
    assert not wrong


def test_no_two_files_of_tests_have_one_name() -> None:
    """pytest imports them by name alone: of two with one name it takes neither."""
    names = [path.name for path in Path(__file__).parent.rglob("*.py") if path.name != "conftest.py"]
    assert sorted({name for name in names if names.count(name) > 1}) == []
