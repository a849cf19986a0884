r"""How the name of a file stands in a text: one way for every format, valid UTF-8, and without loss.

On Linux a name is bytes, which need not be UTF-8; Python keeps such a byte as a lone surrogate, which no UTF-8 text can
hold. In a text it is written as \udc and the byte in two hexadecimal digits: the Latin-1 name Jos<E9>.jpg becomes
Jos\udce9.jpg. Names on Windows may hold other lone surrogates; they are written in the same way. Where a name has such
letters itself, its backslash is written as \u005c, so that the name can always be told from its text.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any

_ESCAPED = r"u(?:005c|d[89a-f][0-9a-f]{2})"
_TO_ESCAPE = re.compile(rf"\\(?={_ESCAPED})|[\ud800-\udfff]")
_LONE = re.compile("[\ud800-\udfff]")
_ESCAPE = re.compile(rf"\\{_ESCAPED}")


def name_to_text(name: str) -> str:
    """The name as it stands in a text that is valid UTF-8; most names stand there as they are."""
    if name.isascii() and "\\u" not in name:
        return name
    return _TO_ESCAPE.sub(lambda match: f"\\u{ord(match[0]):04x}", name)


def text_to_name(text: str) -> str:
    """The name of which `name_to_text` made the text."""
    return _ESCAPE.sub(lambda match: chr(int(match[0][2:], 16)), text) if "\\u" in text else text


def strange_names(names: Iterable[str]) -> list[str]:
    """Those, each once, that are no UTF-8 and of which no file is there: a table in another encoding may have them."""
    return [name for name in dict.fromkeys(names) if _LONE.search(name) and not os.path.lexists(name)]


def names_to_texts(values: dict[str, Any]) -> dict[str, Any]:
    """The values, each text among them as `name_to_text` has it; a message may hold a file's name, too."""
    return {key: name_to_text(value) if isinstance(value, str) else value for key, value in values.items()}


def texts_to_names(values: dict[str, Any]) -> dict[str, Any]:
    """The values of which `names_to_texts` made the texts."""
    return {key: text_to_name(value) if isinstance(value, str) else value for key, value in values.items()}
