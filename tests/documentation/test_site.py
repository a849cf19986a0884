"""The pages that are generated: the public names are all there, and what they say of parameters becomes a list."""

from __future__ import annotations

import importlib
import re
from types import ModuleType

import pytest

import facealign_cli
from tests.documentation.pages import ROOT


def test_the_page_of_public_names_has_each_once() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    shown = re.findall(r"^::: facealign_cli\.(\w+)$", page, re.MULTILINE)
    assert sorted(shown) == sorted(name for name in facealign_cli.__all__ if name != "__version__")


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    return importlib.import_module("whole_options")


def test_an_option_in_code_is_kept_whole(hooks: ModuleType) -> None:
    html = '<p>a --b</p><pre><code class="x-y">pip install -e . --any-roll well-kept &lt;x&gt; a -b</code></pre>'
    option = '<span class="option">{}</span>'.format
    shown = f"pip install {option('-e')} . {option('--any-roll')} well-kept &lt;x&gt; a {option('-b')}"
    assert hooks.on_page_content(html) == f'<p>a --b</p><pre><code class="x-y">{shown}</code></pre>'


def test_parameters_become_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("griffe", reason="need pip install -e '.[docs]'")
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    as_markdown = importlib.import_module("docstrings").as_markdown
    text = (
        "Do it.\n\nOf two: three.\nimage: (H, W)\nuint8. low, high: bounds; unknown: no\nname. Raises E.\n\n    code: x"
    )
    assert as_markdown(text, {"image", "low", "high", "code"}) == (
        "Do it.\n\nOf two: three.\n\n- `image`: (H, W) uint8.\n- `low`, `high`: bounds; unknown: no name.\n\n"
        "Raises E.\n\n    code: x"
    )
