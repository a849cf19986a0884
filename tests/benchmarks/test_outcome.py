"""The record that a benchmark writes: the printed tables again, the circumstances, and no folder of the machine."""

from __future__ import annotations

import ast
import importlib
import json
import re
from argparse import ArgumentParser
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECORDS = sorted((ROOT / "docs" / "results").glob("*.json"))
TEXT = "2 pictures.\n\n| step | ms |\n| --- | ---: |\n| a \\| b | 1.50 |\n| c | 2 |\n\n|y|:\n\n| x |\n| --- |\n| 1 |\n"


@pytest.fixture
def outcome(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("outcome")


def test_a_table_with_two_columns_of_one_name_is_no_record(outcome: ModuleType) -> None:
    with pytest.raises(ValueError, match="two columns of one name"):
        outcome.tables_of("| error | without | without |\n| --- | --- | --- |\n| 1 | 2 | 3 |\n")


def test_the_record_holds_what_was_printed(
    outcome: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["/home/somebody/benchmarks/speed.py", "/home/somebody/photos", "--rounds", "3"])
    parser = ArgumentParser()
    outcome.add_options(parser)
    options = parser.parse_args(["--json", str(tmp_path / "a.json"), "-o", str(tmp_path / "a.md")])
    outcome.hand_over(TEXT, options, rounds=[0.125])
    assert capsys.readouterr().out == (tmp_path / "a.md").read_text("utf-8") == TEXT
    text = (tmp_path / "a.json").read_text("utf-8")
    record = json.loads(text)
    assert record["tables"] == [[{"step": "a \\| b", "ms": "1.50"}, {"step": "c", "ms": "2"}], [{"x": "1"}]]
    assert record["rounds"] == [0.125]
    assert record["command"] == "python benchmarks/speed.py photos --rounds 3"
    assert "somebody" not in text
    assert {"facealign", "onnxruntime"} <= record["versions"].keys()
    assert record["machine"]["processor"] and record["machine"]["cores"] > 0


def test_pairs_become_a_table(outcome: ModuleType) -> None:
    assert outcome.tables_of(outcome.pairs([("a", "1"), ("b", "2")])) == [
        [{"What": "a", "Measured": "1"}, {"What": "b", "Measured": "2"}]
    ]


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.name)
def test_each_kept_record_stands_beside_its_command(path: Path) -> None:
    record = json.loads(path.read_text("utf-8"))
    index = (ROOT / "docs" / "figures.md").read_text("utf-8")
    (command,) = re.findall(rf"^\|[^|]+\| `([^|]+)` \|[^|]*\(results/{re.escape(path.name)}\)", index, re.MULTILINE)
    what = re.match(r"\S+ \S+( [a-z]+(?= |$))?", command)  # the program, and its subcommand if it has one
    assert what and record["command"].startswith(what[0])
    assert record["date"] and record["machine"] and record["versions"]


def test_the_history_holds_the_code_of_each_kept_record(outcome: ModuleType) -> None:
    if outcome.git("rev-parse", "--is-shallow-repository") != "false":
        pytest.skip("needs a checkout with its history")
    record = importlib.import_module("record")
    kept = [json.loads(path.read_text("utf-8")) for path in RECORDS]
    remedy = "python benchmarks/record.py --settle docs/results/*.json"
    for commit, told in {(one["commit"], json.dumps(one["trees"])) for one in kept}:
        trees = json.loads(told)
        assert outcome.git("merge-base", "--is-ancestor", commit, "HEAD") is not None, remedy
        assert outcome.trees(commit, record.MEASURED) == {folder: trees[folder] for folder in record.MEASURED}, remedy
        assert record.holding({"benchmarks": trees["benchmarks"]}), remedy


@pytest.fixture
def checkout(outcome: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., str]:
    """Makes a repository of the folders of code; each call writes a value into files, and commits as git is told."""
    monkeypatch.setattr(outcome, "ROOT", tmp_path)
    for name, value in {"NAME": "A", "EMAIL": "a@localhost"}.items():
        monkeypatch.setenv(f"GIT_AUTHOR_{name}", value)
        monkeypatch.setenv(f"GIT_COMMITTER_{name}", value)
    assert outcome.git("init", "-q") is not None

    def commit(value: str, *words: str, folders: Iterable[str] = outcome.CODE) -> str:
        for folder in folders:
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / "code").write_text(value, encoding="utf-8")
        assert outcome.git("add", ".") is not None and outcome.git("commit", "-q", "-m", value, *words) is not None
        return str(outcome.circumstances()["commit"])

    return commit


def test_a_record_of_a_rebased_commit_gets_the_one_with_the_same_code(
    outcome: ModuleType, checkout: Callable[..., str]
) -> None:
    settled = importlib.import_module("record").settled
    checkout("0")
    before = {"command": "x", **outcome.circumstances(["x"]), "commit": checkout("1"), "trees": outcome.trees("HEAD")}
    assert settled(before, "a.json") == before
    after = checkout("1", "--amend", "-m", "the same code with another message")
    checkout("2", folders=["benchmarks"])
    now = settled(before, "a.json")
    assert now["commit"] == after != before["commit"] and now["note"].count(after) == 1
    assert {**now, "commit": before["commit"]} == {**before, "note": now["note"]}
    without = settled({key: before[key] for key in before if key != "trees"}, "a.json")
    assert without["trees"] == before["trees"], "git still knows the commit that was rebased"


def test_a_record_of_code_that_the_history_never_had_is_refused(
    outcome: ModuleType, checkout: Callable[..., str]
) -> None:
    settled = importlib.import_module("record").settled
    checkout("0")
    record = {"command": "x", "commit": checkout("1"), "trees": outcome.trees("HEAD")}
    checkout("other code", "--amend", folders=["models"])
    with pytest.raises(SystemExit, match=r"a\.json: no commit of this history"):
        settled(record, "a.json")
    with pytest.raises(SystemExit, match="Run the command again"):
        settled({**record, "commit": f"{record['commit']}+changes"}, "a.json")


def test_a_command_without_json_gets_a_record(
    outcome: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = importlib.import_module("record")
    printing = "print('busy\\n\\n| a | b |\\n| --- | --- |\\n| 1 | 2 |')"
    monkeypatch.setattr("sys.argv", ["record.py", str(tmp_path / "a.json"), "python", "-c", printing])
    record.main()
    kept = json.loads((tmp_path / "a.json").read_text("utf-8"))
    assert kept["tables"] == [[{"a": "1", "b": "2"}]]
    assert kept["printed"] == capsys.readouterr().out.splitlines() and kept["printed"][0] == "busy"
    assert kept["command"].startswith("python -c") and kept["seconds"] >= 0
    assert re.fullmatch(r"[0-9a-f]{10}(\+changes)?", kept["commit"] or "0" * 10)


def test_a_command_that_fails_gets_none(outcome: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    record = importlib.import_module("record")
    monkeypatch.setattr("sys.argv", ["record.py", str(tmp_path / "a.json"), "python", "-c", "raise SystemExit(3)"])
    with pytest.raises(SystemExit, match="3"):
        record.main()
    assert not (tmp_path / "a.json").exists()
    assert record.program(["facealign", "--help"])[1:] == ["-m", "facealign_cli", "--help"]


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_each_table_that_is_spelt_out_can_become_a_record(path: Path) -> None:
    """A run takes minutes until its table is there."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    for head in (node.value for node in nodes if isinstance(node, ast.Constant)):
        if isinstance(head, str) and head.startswith("| ") and head.endswith(" |") and "--" not in head:
            columns = head.strip("|").split("|")
            assert len(set(columns)) == len(columns), head
