from __future__ import annotations

import pytest

from facealign_cli.files.names import name_to_text, text_to_name


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jpg", "a.jpg"),
        ("José 日.jpg", "José 日.jpg"),
        ("Jos\udce9.jpg", r"Jos\udce9.jpg"),
        ("a\\b\\users\\und.jpg", r"a\b\users\und.jpg"),
        (r"Jos\udce9.jpg", r"Jos\u005cudce9.jpg"),  # a file whose name has these letters
        (r"Jos\u005cudce9.jpg", r"Jos\u005cu005cudce9.jpg"),
        ("\\\udc80\ud800", r"\\udc80\ud800"),
        (r"\UDCE9 \udcEE \u00e9", r"\UDCE9 \udcEE \u00e9"),
    ],
)
def test_a_name_is_told_from_its_text(name: str, text: str) -> None:
    assert name_to_text(name) == text
    assert text.encode().decode() == text
    assert text_to_name(text) == name
