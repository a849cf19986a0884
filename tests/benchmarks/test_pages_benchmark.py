"""A page's tables are those that the commands above them print; all else stays as it was."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

PAGE = """# A model
Yaw: `python benchmarks/yaw.py`, and `facealign bench` besides.

| yaw | error |
| --- | --- |
| 0 | 2.5 |
| 30 | 2.6 |

Again:

| step | ms |
| --- | --- |
| all | 1.5 |

Other: `python benchmarks/other.py`.

| yaw | error |
| --- | --- |
| kept | 1 |

## No command

| step | ms |
| --- | --- |
| kept | 1 |
"""
PRINTED = {
    "python benchmarks/yaw.py": "Of 9 faces\n\n| yaw | error |\n| --- | --- |\n| 0 | 2.4 |\n\nDone",
    "facealign bench": "| step | ms |\n| --- | --- |\n| all | 1.4 |\n| none | 0.1 |",
    "python benchmarks/other.py": "| angle | error |\n| --- | --- |\n| 0 | 9 |",
}


@pytest.fixture
def pages(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("pages")


def test_tables_are_replaced_by_what_the_commands_above_them_print(pages: ModuleType) -> None:
    text, told = pages.refreshed(PAGE, PRINTED.__getitem__)
    assert text == PAGE.replace("| 0 | 2.5 |\n| 30 | 2.6 |", "| 0 | 2.4 |").replace(
        "| all | 1.5 |", "| all | 1.4 |\n| none | 0.1 |"
    )
    assert told == [
        "line 4: measured again: | yaw | error |",
        "line 11: measured again: | step | ms |",
        "line 17: left as it is: | yaw | error |",
        "line 23: left as it is: | step | ms |",
    ]


def test_a_command_runs_once_and_renews_its_record(pages: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    written: list[tuple[str, object]] = []

    def run(words: list[str]) -> dict[str, object]:
        ran.append(words)
        return {"command": " ".join(words), "printed": ["| a |", "| - |"]}

    monkeypatch.setattr(pages.record, "run", run)
    monkeypatch.setattr(pages.record, "write", lambda file, record: written.append((file.name, record["command"])))
    yaw = "python benchmarks/hard_faces.py pose ../shared/data/more/aflw2000"
    printed = pages.Printed("hard_faces")
    assert printed(yaw) == printed(yaw) == "| a |\n| - |"
    assert printed("python benchmarks/peers.py ../shared/data/300w") == ""
    assert ran == [yaw.split()]
    assert written == [("yaw_dan_light.json", yaw)]


def test_a_command_without_a_record_may_print_any_table(pages: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record could not hold one whose columns have one name."""
    twice = "| turned by | NME | NME |\n| --- | --- | --- |"
    monkeypatch.setattr(pages.record, "shown", lambda words: twice)
    monkeypatch.setattr(pages.record, "write", lambda file, record: pytest.fail(f"{file} is no record of it"))
    assert pages.Printed()("python benchmarks/hard_faces.py rolls ../shared/data/300w") == twice
