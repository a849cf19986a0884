"""The review's page in a real browser: drag, keys, save, reload, two tabs, many pictures, a tablet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.browser import launched, until

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with launched() as browser:
        yield browser


@pytest.fixture
def visit(browser) -> Iterator[Callable]:
    """Opens a page that must not complain; once it shows a picture it is returned."""
    complaints: list[str] = []
    contexts = []

    def go(url: str, width: int = 1280, height: int = 800, touch: bool = False):
        context = browser.new_context(viewport={"width": width, "height": height}, has_touch=touch)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda m: complaints.append(m.text) if m.type == "error" and _is_odd(m.text) else None)
        page.goto(url)
        ready(page)
        return page

    yield go
    for context in contexts:
        context.close()
    assert not complaints


def _is_odd(text: str) -> bool:
    """Chromium notes each answer that is an error; these belong to the tests that bring them about."""
    return not any(status in text for status in ("409", "422", "507"))


def ready(page, name: str | None = None) -> None:
    until(page, "document.querySelector('#state').textContent !== ''")
    if name is not None:
        until(page, f"document.querySelector('#name').textContent.endsWith({name!r})")
        page.wait_for_timeout(150)


def saved(served, number: int, revision: int):
    """The picture, once so many steps are in the session."""
    end = time.monotonic() + 10
    while served.session.pictures[number].revision < revision:
        assert time.monotonic() < end, f"revision {served.session.pictures[number].revision} after 10 s"
        time.sleep(0.02)
    return served.session.pictures[number]


def moved_to(served, there: np.ndarray) -> int:
    """In how many steps the first point of the first picture came there: keys pressed in quick succession are one."""
    end = time.monotonic() + 10
    while not np.allclose(served.session.pictures[0].result.faces[0].landmarks[0], there, rtol=0, atol=1e-6):
        assert time.monotonic() < end, "not there after 10 s"
        time.sleep(0.02)
    return served.session.pictures[0].revision


def place(page, point: np.ndarray) -> tuple[float, float]:
    """Where a place of the picture is on the page, when the whole picture fits the canvas."""
    box = page.locator("#canvas").bounding_box()
    scale = min(box["width"] / 320, box["height"] / 240, 40)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    return x + (point[0] + 0.5 - 160) * scale, y + (point[1] + 0.5 - 120) * scale


def drag(page, start: np.ndarray, by: tuple[float, float]) -> None:
    page.mouse.move(*place(page, start))
    page.mouse.down()
    page.mouse.move(*place(page, start + np.array(by) / 2))
    page.mouse.move(*place(page, start + np.array(by)))
    page.mouse.up()


def test_a_drag_moves_a_point_and_is_saved(rows, serve, visit, face) -> None:
    served = serve(rows(0.9))
    page = visit(served.url)
    page.keyboard.press("0")
    before = face().landmarks
    drag(page, before[8], (6, -9))
    after = saved(served, 0, 1).result.faces[0].landmarks
    np.testing.assert_allclose(after[8], before[8] + np.array([6, -9]), atol=0.6)
    np.testing.assert_array_equal(np.delete(after, 8, axis=0), np.delete(before, 8, axis=0))
    until(page, "document.querySelector('#saved').textContent === 'Saved'")
    assert "jaw_9" in page.locator("#hint").text_content()


def test_parts_and_the_face(rows, serve, visit, face) -> None:
    served = serve(rows(0.9))
    page = visit(served.url)
    page.keyboard.press("0")
    before = face().landmarks
    page.get_by_role("radio", name="Part").click()
    drag(page, before[51], (0, 12))  # the mouth
    after = saved(served, 0, 1).result.faces[0].landmarks
    np.testing.assert_allclose(after[48:68], before[48:68] + np.array([0, 12]), atol=0.6)
    np.testing.assert_array_equal(after[:48], before[:48])
    page.get_by_role("radio", name="Face").click()
    drag(page, after[8], (-10, 0))
    moved = saved(served, 0, 2).result.faces[0].landmarks
    np.testing.assert_allclose(moved, after + np.array([-10, 0]), atol=0.6)
    page.keyboard.press("1")
    page.keyboard.down("Shift")
    drag(page, moved[8], (0, 8))  # Shift: the jaw
    page.keyboard.up("Shift")
    np.testing.assert_allclose(
        saved(served, 0, 3).result.faces[0].landmarks[:17], moved[:17] + np.array([0, 8]), atol=0.6
    )


def test_the_keyboard_alone(rows, serve, visit, face) -> None:
    """Select, move, hide, undo, redo, delete, add, accept, without a pointer."""
    served = serve(rows(0.2, 0.9))
    page = visit(served.url)
    before = face().landmarks
    there = before[0] + np.array([1.9, 10])
    press = page.keyboard.press
    press(".")
    press("ArrowRight")
    press("ArrowRight")
    press("Shift+ArrowDown")
    press("Alt+ArrowLeft")
    steps = moved_to(served, there)
    press("v")
    assert saved(served, 0, steps + 1).result.faces[0].visible.sum() == 67
    assert "not visible" in page.locator("#hint").text_content()
    press("Control+z")
    assert saved(served, 0, steps + 2).result.faces[0].visible is None
    for _ in range(steps):
        press("Control+z")
    np.testing.assert_array_equal(saved(served, 0, 2 * steps + 2).result.faces[0].landmarks, before)
    for _ in range(steps):
        press("Control+y")
    done = 3 * steps + 2
    np.testing.assert_allclose(saved(served, 0, done).result.faces[0].landmarks[0], there, atol=1e-6)
    press("Delete")
    assert not saved(served, 0, done + 1).result.faces
    press("0")
    press("a")
    press("Enter")
    assert len(saved(served, 0, done + 2).result.faces) == 1
    press("Enter")
    assert saved(served, 0, done + 3).state == "accepted"
    ready(page, "p001.jpg")
    press("s")
    assert saved(served, 1, 1).state == "skipped"
    assert "2 of 2 done: 1 accepted, 1 skipped" in page.locator("#counts").text_content()


def test_a_drawn_box_becomes_a_face(rows, serve, visit) -> None:
    served = serve(rows(0.9))
    page = visit(served.url)
    page.keyboard.press("0")
    page.get_by_role("button", name="Add face").click()
    assert "Draw a box" in page.locator("#hint").text_content()
    drag(page, np.array([20.0, 20.0]), (60, 70))
    faces = saved(served, 0, 1).result.faces
    assert len(faces) == 2 and [f.face_id for f in faces] == [0, 1]
    np.testing.assert_allclose(faces[1].bbox.xyxy, (20, 20, 80, 90), atol=1)


def test_a_reload_shows_what_was_saved(rows, serve, visit, face) -> None:
    served = serve(rows(0.9, 0.3))
    page = visit(served.url)
    page.keyboard.press("n")
    ready(page, "p000.jpg")
    page.keyboard.press("0")
    drag(page, face().landmarks[8], (0, 20))
    saved(served, 1, 1)
    page.reload()
    ready(page, "p000.jpg")
    page.keyboard.press("0")
    drag(page, face().landmarks[8] + np.array([0, 20]), (15, 0))  # it is there to be taken
    np.testing.assert_allclose(
        saved(served, 1, 2).result.faces[0].landmarks[8], face().landmarks[8] + np.array([15, 20]), atol=0.8
    )


def test_two_tabs_do_not_overwrite_each_other(rows, serve, visit) -> None:
    served = serve(rows(0.9))
    first, second = visit(served.url), visit(served.url)
    for page in (first, second):
        page.keyboard.press(".")
    first.keyboard.press("ArrowRight")
    saved(served, 0, 1)
    second.keyboard.press("ArrowDown")
    second.wait_for_selector("#notice:not([hidden])")
    assert "changed in another window" in second.locator("#notice").text_content()
    assert served.session.pictures[0].revision == 1
    second.get_by_role("button", name="Keep mine").click()
    kept = saved(served, 0, 2).result.faces[0].landmarks
    first.keyboard.press("ArrowRight")
    first.wait_for_selector("#notice:not([hidden])")
    first.get_by_role("button", name="Take the other one").click()
    first.wait_for_timeout(300)
    first.keyboard.press(".")
    first.keyboard.press("ArrowRight")
    np.testing.assert_allclose(saved(served, 0, 3).result.faces[0].landmarks[0], kept[0] + np.array([1, 0]), atol=1e-6)


def test_steps_wait_for_a_server_that_does_not_answer(rows, serve, visit, monkeypatch) -> None:
    from facealign_cli.errors import OutputError

    served = serve(rows(0.9))
    page = visit(served.url.replace("127.0.0.1", "localhost"))
    append, failures = served.session._append, [1]

    def full_once(record: object) -> None:
        if failures:
            failures.pop()
            raise OutputError("the disk is full")
        append(record)

    monkeypatch.setattr(served.session, "_append", full_once)
    page.keyboard.press(".")
    page.keyboard.press("ArrowRight")
    until(page, "document.querySelector('#saved').textContent.startsWith('Not saved')")
    saved(served, 0, 1)
    until(page, "document.querySelector('#saved').textContent === 'Saved'")
    assert not failures  # the first try met the full disk


def test_filters_and_search(rows, serve, visit) -> None:
    served = serve(rows(0.9, 0.8, 0.7))
    page = visit(served.url)
    page.keyboard.press("Enter")
    saved(served, 0, 1)
    until(page, "document.querySelectorAll('.item').length === 2")
    page.locator("#filter").select_option("accepted")
    until(page, "document.querySelectorAll('.item').length === 1")
    page.locator("#filter").select_option("all")
    page.locator("#search").fill("p001")
    until(page, "document.querySelectorAll('.item').length === 1")
    page.locator(".item").click()
    ready(page, "p001.jpg")
    page.locator("#search").fill("")
    page.locator("#order").select_option("name")
    assert page.locator(".item b").all_text_contents() == ["p000.jpg", "p001.jpg", "p002.jpg"]


def test_two_thousand_pictures(rows, serve, visit) -> None:
    """Only the rows in sight are made, and only their thumbnails are asked for."""
    served = serve(rows(*np.linspace(0, 1, 2000).tolist()))
    asked: list[str] = []
    begin = time.monotonic()
    page = visit(served.url)
    took = time.monotonic() - begin
    page.on("request", lambda request: asked.append(request.url))
    assert page.locator(".item").count() < 30
    page.evaluate("() => { document.querySelector('#list').scrollTop = 66 * 1500; }")
    until(page, "[...document.querySelectorAll('.item b')].some((b) => b.textContent === 'p1500.jpg')")
    assert page.locator(".item").count() < 60
    assert 0 < len(asked) < 60
    assert took < 15, "a page that takes so long builds all rows at once"


def test_a_tablet(rows, serve, visit, face) -> None:
    """820 px wide, by touch: everything can be reached, nothing lies over another, a tap selects, a drag moves."""
    served = serve(rows(0.9, 0.4))
    page = visit(served.url, 820, 1180, touch=True)
    until(page, "document.querySelector('#name').textContent.endsWith('p001.jpg')")
    boxes = [b.bounding_box() for b in page.locator("footer button").all()]
    for i, one in enumerate(boxes):
        assert one["x"] >= 0 and one["x"] + one["width"] <= 820 and one["y"] + one["height"] <= 1180
        assert one["height"] >= 38
        for other in boxes[i + 1 :]:
            apart = (
                one["x"] + one["width"] <= other["x"] + 0.5
                or other["x"] + other["width"] <= one["x"] + 0.5
                or one["y"] + one["height"] <= other["y"] + 0.5
                or other["y"] + other["height"] <= one["y"] + 0.5
            )
            assert apart
    assert page.evaluate("document.documentElement.scrollWidth") <= 820
    page.get_by_role("button", name="Picture", exact=True).tap()
    page.touchscreen.tap(*place(page, face().landmarks[30]))
    assert "nose_4" in page.locator("#hint").text_content()
    page.get_by_role("button", name="Not visible").tap()
    assert not saved(served, 0, 1).result.faces[0].visible[30]
    page.get_by_role("button", name="Accept").tap()
    assert saved(served, 0, 2).state == "accepted"
    ready(page, "p000.jpg")


def test_the_help_opens_and_closes(rows, serve, visit) -> None:
    page = visit(serve(rows(0.9)).url)
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.get_by_role("button", name="Close").click()
    assert not page.locator("#keys").is_visible()


def test_on_a_telephone_what_is_gone_can_be_skipped_but_not_accepted(rows, serve, visit) -> None:
    results = rows(0.1, 0.9)
    Path(results[0].source).unlink()
    served = serve(results)
    page = visit(served.url, 390, 844)
    until(page, "document.querySelector('#notice').textContent.includes('p000.jpg: no such file')")
    for key in (".", "Delete", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    page.keyboard.press("s")
    after = saved(served, 0, 1)
    assert (after.state, len(after.result.faces)) == ("skipped", 1)
    ready(page, "p001.jpg")
    until(page, "document.querySelector('#notice').hidden")  # it was about the other picture

    page.evaluate("document.querySelector('#saved').textContent = 'Not saved: ' + 'the disk is full '.repeat(8)")
    page.evaluate("document.querySelector('#saved').className = 'failed'")
    for name in ("#saved", "#accept", "#name"):
        box = page.locator(name).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390, name
    assert page.locator("#stage").bounding_box()["height"] > 300
    page.click("#menu")
    page.locator(".item").first.click()
    until(page, "document.querySelector('#side').offsetWidth === 0")  # the list lay over the picture
