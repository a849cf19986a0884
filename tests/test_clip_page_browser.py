"""The page about a clip in a real browser: values under the pointer and by keys, a phone, print, no request."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_clip_page import make_clip

from facealign_cli.report.clip import render_clip_page
from facealign_cli.report.series import DECIMALS, ClipSeries, read_series
from tests.browser import launched

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as started:
        yield started


@pytest.fixture(scope="module")
def series() -> ClipSeries:
    return read_series(make_clip())


class Visit:
    """An open page, what it asked for, and what it complained about."""

    def __init__(self, browser: Any, file: Path, width: int, **context: Any) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, **context)
        self.page, self.asked, self.complaints = self.context.new_page(), [], []
        self.page.on("request", lambda r: self.asked.append(r.url) if not r.url.startswith("data:") else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda m: self.complaints.append(m.text))
        self.page.goto(file.as_uri())
        assert self.asked == [file.as_uri()]

    def move(self, second: float, plot: int = 1, tap: bool = False) -> None:
        """The pointer to a time of the clip of 6 s."""
        place = self.page.locator(".plot").nth(plot)
        place.scroll_into_view_if_needed()
        box = place.bounding_box()
        where = box["x"] + box["width"] * second / 6, box["y"] + box["height"] / 3
        (self.page.touchscreen.tap if tap else self.page.mouse.move)(*where)

    def read(self) -> tuple[str, list[list[str]]]:
        """What is read off: the moment, and the cells of each person."""
        page = self.page
        cells = page.evaluate(
            "() => [...document.querySelectorAll('#readout tbody tr')].map(row =>"
            " [...row.querySelectorAll('td')].map(cell => cell.textContent))"
        )
        return page.locator("#moment").text_content(), cells

    def end(self) -> None:
        """Nothing was loaded and nothing went wrong."""
        assert len(self.asked) == 1 and not self.complaints
        self.context.close()


@pytest.fixture
def visit(browser: Any, series: ClipSeries, tmp_path: Path) -> Iterator[Any]:
    visits: list[Visit] = []

    def go(width: int = 1280, page: str | None = None, **context: Any) -> Visit:
        file = tmp_path / f"{len(visits)}.html"
        file.write_text(page or render_clip_page(series), encoding="utf-8")
        visits.append(Visit(browser, file, width, **context))
        return visits[-1]

    yield go
    for one in visits:
        one.end()


def expected(series: ClipSeries, row: int) -> list[list[str]]:
    """The cells that a record's own values make."""
    found = []
    for person in series.persons:
        at = np.flatnonzero(person.rows == row)
        values = zip(person.values[at[0]], DECIMALS, strict=True) if len(at) else None
        found.append([f"{v + 0.0:.{d}f}" for v, d in values] if values else ["not seen", "", "", "", "", ""])
    return found


def same(shown: list[list[str]], wanted: list[list[str]]) -> None:
    """Equal texts, but for the rounding of halves."""
    for cells, others in zip(shown, wanted, strict=True):
        for cell, other, decimals in zip(cells, others, DECIMALS, strict=True):
            if cell != other:
                assert float(cell) == pytest.approx(float(other), abs=1.01 * 10.0**-decimals)


@pytest.mark.parametrize("row", [0, 26, 50, 80, 120, 149])
def test_what_is_under_the_pointer_is_in_the_rows(visit: Any, series: ClipSeries, row: int) -> None:
    opened = visit()
    opened.move(row / 25 + 0.001)
    moment, cells = opened.read()
    assert moment == f"0:0{row // 25}.{row % 25 * 40:03d}, frame {row}"
    same(cells, expected(series, row))
    lit = opened.page.locator("#readout tr.blinking").count()
    assert lit == (row == 50)


def test_keys_go_from_frame_to_frame(visit: Any, series: ClipSeries) -> None:
    opened = visit()
    opened.move(2.0 + 0.001)
    opened.page.locator(".plot").nth(1).focus()
    for key, row in (("ArrowRight", 51), ("ArrowLeft", 50), ("Shift+ArrowRight", 75), ("ArrowRight", 76)):
        opened.page.keyboard.press(key)
        moment, cells = opened.read()
        assert moment.endswith(f"frame {row}")
        same(cells, expected(series, row))
    opened.page.keyboard.press("Escape")
    assert opened.page.locator("#readout").is_hidden()


def test_an_id_can_be_hidden(visit: Any) -> None:
    opened = visit()
    shown = "id => [...document.querySelectorAll('.plot .p' + id)].map(c => getComputedStyle(c).display !== 'none')"
    assert opened.page.evaluate(shown, 1) == [True] * 7  # a bar and six curves
    opened.page.get_by_role("button", name="id 1").click()
    assert opened.page.evaluate(shown, 1) == [False] * 7
    assert all(opened.page.evaluate(shown, 0))


def test_on_a_phone(visit: Any, series: ClipSeries) -> None:
    opened = visit(390, has_touch=True)
    assert opened.page.evaluate("document.documentElement.scrollWidth") == 390
    opened.move(2.0 + 0.001, plot=4, tap=True)
    moment, cells = opened.read()
    assert moment == "0:02.000, frame 50"
    same(cells, expected(series, 50))
    box = opened.page.locator("#readout").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["y"] + box["height"] <= 900
    assert opened.page.evaluate("document.documentElement.scrollWidth") == 390
    wide = "[...document.querySelectorAll('#readout td')].every(c => c.scrollWidth <= c.clientWidth + 1)"
    assert opened.page.evaluate(wide)


def test_columns_of_a_long_clip(visit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facealign_cli.report.clip.MOST_VALUES", 100)
    long = read_series(make_clip(100.0))
    opened = visit(page=render_clip_page(long))
    opened.move(3.0)  # of 6: 50 s
    moment, cells = opened.read()
    first, last = (int(part) for part in moment.partition("frames ")[2].split(" to "))
    assert first <= 1250 <= last and 1 <= last - first <= 4
    inside = long.persons[0].values[(long.frames[long.persons[0].rows] >= first)]
    low, high = (float(part) for part in cells[0][0].split(" to "))
    assert low == pytest.approx(inside[: last - first + 1, 0].min(), abs=0.06)
    assert high == pytest.approx(inside[: last - first + 1, 0].max(), abs=0.06)


def test_in_print_and_in_the_dark(visit: Any) -> None:
    opened = visit(color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    assert opened.page.evaluate(ground) == "rgb(20, 23, 27)"
    opened.move(1.5)
    opened.page.emulate_media(media="print")
    assert opened.page.evaluate(ground) == "rgb(255, 255, 255)"
    assert opened.page.locator("#readout").is_hidden()
    assert all(plot.is_visible() for plot in opened.page.locator(".plot").all())
