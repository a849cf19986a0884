"""MkDocs hook: keeps an option whole where a line of code is wrapped; a browser would break it behind its dashes."""

from __future__ import annotations

import re
from typing import Any

_CODE = re.compile(r"<code.*?</code>", re.DOTALL)
_OPTION = re.compile(r"(?<![\w-])(?<!&)--?[A-Za-z][\w-]*(?=[^<>]*<)")


def on_page_content(html: str, **_: Any) -> str:
    """Mark each option in code; MkDocs calls this for each page."""
    return _CODE.sub(lambda code: _OPTION.sub(r'<span class="option">\g<0></span>', code[0]), html)
