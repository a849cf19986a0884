"""The commands that people need, by name: nox -s tests. Each works in an environment of its own."""

from __future__ import annotations

import nox

nox.options.sessions = ["lint", "types", "tests"]


@nox.session
def tests(session: nox.Session) -> None:
    """All tests."""
    session.install("-e", ".[dev]")
    session.run("pytest", *(session.posargs or ["--all"]))


@nox.session
def lint(session: nox.Session) -> None:
    """Style and spelling."""
    session.install("ruff", "codespell")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("codespell")


@nox.session
def types(session: nox.Session) -> None:
    """Types, strictly."""
    session.install("-e", ".[dev]")
    session.run("mypy")


@nox.session
def lowest(session: nox.Session) -> None:
    """The quick tests with the lowest versions that setup.cfg admits."""
    text = session.run("python", ".ci/lowest.py", "setup.cfg", silent=True)
    constraints = session.create_tmp() + "/lowest.txt"
    with open(constraints, "w", encoding="utf-8") as file:
        file.write(str(text))
    session.install("-c", constraints, "-e", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation site, strictly, into build/site."""
    session.install("-e", ".[docs]")
    session.run("mkdocs", "build", "--strict")


@nox.session
def fuzz(session: nox.Session) -> None:
    """Damaged inputs of every kind; see tests/fuzz for how to try more."""
    session.install("-e", ".[dev]")
    session.run("pytest", "tests/fuzz", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Where the time goes: nox -s bench -- PICTURE..."""
    session.install("-e", ".[dev]")
    session.run("python", "benchmarks/speed.py", *session.posargs)


@nox.session
def gallery(session: nox.Session) -> None:
    """The pictures of the documentation."""
    session.install("-e", ".")
    session.run("python", "docs/gallery.py")


@nox.session
def wheel(session: nox.Session) -> None:
    """The wheel, into dist."""
    session.run("python", "-m", "pip", "wheel", "--no-deps", "--wheel-dir", "dist", ".")


@nox.session(python=False)
def image(session: nox.Session) -> None:
    """The container image."""
    session.run("docker", "build", "-t", "facealign", ".", external=True)
