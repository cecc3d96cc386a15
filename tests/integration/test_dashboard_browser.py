"""The dashboard in Chromium, on a real controller with a real Triton and a worker that reports made-up answers."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from loadtest.controller_kills.worker import Worker
from tests.fakes.browser import Visit, running_browser, visit
from tests.fakes.onnx_repository import scale
from tests.fakes.running_controller import RunningController, running_controller
from tests.fakes.running_triton import RunningTriton, running_triton

pytestmark = pytest.mark.integration
PICTURES = Path(__file__).parents[2] / ".penstock" / "screenshots"
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def own_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTriton]:
    root = tmp_path_factory.mktemp("shown")
    scale(root / "repository")
    with running_triton(root / "repository", root / "triton") as running:
        yield running


@pytest.fixture
def controller(own_triton: RunningTriton, tmp_path: Path) -> Iterator[RunningController]:
    """A controller whose one worker answers 1,000 requests/s; version 3 of ``scale`` is stable."""
    with running_controller(own_triton.repository, own_triton.address, tmp_path / "state") as running:
        running.until("/v1/models/scale", lambda model: model.get("stable") == 3 and model["loaded"] == [3])
        with Worker([f"127.0.0.1:{running.grpc_port}"], per_period=100):
            running.until("/v1/routes", lambda routes: routes["workers"] and not routes["lagging"])
            yield running


@pytest.fixture
def visitor(browser: Browser, controller: RunningController) -> Iterator[Visit]:
    with visit(browser, controller.url, viewport=DESKTOP) as visitor:
        yield visitor
        assert visitor.faults == []


def fill_start(page: Page, version: str, steps: list[tuple[str, str, str]]) -> None:
    page.get_by_label("Version", exact=True).select_option(version)
    for row in range(3):
        group = page.get_by_role("group", name=f"Step {row + 1}", exact=True)
        weight, seconds, answers = steps[row] if row < len(steps) else ("", "", "")
        group.get_by_label("Weight").fill(weight)
        group.get_by_label("Time").fill(seconds)
        group.get_by_label("Answers").fill(answers)
    page.get_by_label("Your name").fill("ada")


def start_by_clicking(page: Page, url: str, version: str, steps: list[tuple[str, str, str]]) -> None:
    page.goto(url)
    page.get_by_role("link", name="scale", exact=True).click()
    fill_start(page, version, steps)
    page.get_by_role("button", name="Start rollout").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile(r"scale-\d+"))


def use(page: Page, verb: str, reason: str) -> None:
    page.get_by_role("link", name=verb, exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    dialog.get_by_label("Your name").fill("grace")
    dialog.get_by_label("Reason").fill(reason)
    dialog.get_by_role("button", name=verb, exact=True).click()


def test_a_rollout_is_started_watched_paused_resumed_and_aborted_by_clicking(
    controller: RunningController, visitor: Visit
) -> None:
    page = visitor.page
    start_by_clicking(page, controller.url, "2", [("10", "3", "50"), ("50", "600", "50")])
    expect(page.locator("#connection")).to_have_text("Live")
    page.evaluate("window.sameDocument = true")
    expect(page.locator("#state")).to_contain_text("Progressing")
    expect(page.locator(".steps [aria-current=step]")).to_contain_text("50 %")
    expect(page.locator("#progress")).to_contain_text("The gateway worker serves with the present route")
    expect(page.locator("#progress")).to_contain_text(re.compile(r"Actual weight\s+50\.0"))
    expect(page.locator("#course svg").first).to_be_visible()
    before = page.locator(".compare tbody tr").first.inner_text()
    expect(page.locator(".compare tbody tr").first).not_to_have_text(before)
    numbers = page.locator("#checks summary").first
    numbers.click()
    before = page.locator(".compare tbody tr").first.inner_text()
    expect(page.locator(".compare tbody tr").first).not_to_have_text(before)
    expect(page.locator("#checks details").first).to_have_attribute("open", "")
    assert page.evaluate("window.sameDocument"), "it moved without a reload"
    assert page.locator("#history time").first.get_attribute("title"), "times are in the reader's zone, UTC is kept"

    use(page, "Pause", "a look at the traces")
    expect(page.locator("#state")).to_contain_text("Paused")
    expect(page.locator("#history")).to_contain_text("a look at the traces")
    use(page, "Resume", "nothing found")
    expect(page.locator("#state")).to_contain_text("Progressing")
    use(page, "Abort", "not this one")
    expect(page.locator("#state")).to_contain_text(re.compile("Aborting|Aborted"))
    controller.until("/v1/rollouts/scale-1", lambda rollout: rollout["phase"] == "aborted")
    expect(page.locator("#state")).to_contain_text("Aborted")
    expect(page.locator("#connection")).to_have_text("Over")
    expect(page).to_have_title("scale-1: Aborted - Penstock")
    expect(page.locator("#actions a")).to_have_count(0)
    lines = controller.get("/v1/rollouts/scale-1/history")["history"]
    assert [(line["event"], line["actor"]) for line in lines if line["actor"] == "grace"] == [
        ("pause", "grace"),
        ("resume", "grace"),
        ("abort", "grace"),
    ]


def test_another_is_promoted_by_clicking_and_the_first_page_follows(
    controller: RunningController, visitor: Visit, browser: Browser
) -> None:
    page = visitor.page
    with visit(browser, controller.url, viewport=DESKTOP) as onlooker:
        onlooker.page.goto(controller.url)
        expect(onlooker.page.locator("#active")).to_contain_text("No rollout is under way")
        start_by_clicking(page, controller.url, "2", [("5", "600", "50")])
        expect(onlooker.page.locator("#active")).to_contain_text("scale-1")
        expect(page.locator("#progress")).to_contain_text(re.compile(r"Actual weight\s+5\.00"))
        use(page, "Promote", "measured offline")
        expect(page.locator("#state")).to_contain_text(re.compile("Promoting|Promoted"))
        controller.until("/v1/models/scale", lambda model: model["stable"] == 2 and model["loaded"] == [2])
        expect(page.locator("#state")).to_contain_text("Promoted")
        expect(onlooker.page.locator("#over")).to_contain_text("Promoted")
        expect(onlooker.page.locator("#models")).to_contain_text("version 2")
        assert onlooker.faults == []


def test_what_was_done_and_what_was_refused_is_in_the_audit_trail(
    controller: RunningController, visitor: Visit, browser: Browser
) -> None:
    page = visitor.page
    start_by_clicking(page, controller.url, "2", [("10", "600", "50")])
    expect(page.locator("#state")).to_contain_text("Progressing")
    trail = page.get_by_role("table", name="Who did what with this rollout")
    expect(row_of(trail, "ada")).to_contain_text(re.compile(r"start.*done", re.DOTALL))
    with visit(browser, controller.url, viewport=PHONE) as late:
        late.page.goto(f"{controller.url}/rollouts/scale-1/promote")
        assert controller.post("/v1/rollouts/scale-1/pause", {"actor": "ada", "request_id": "r-1"}).status_code == 200
        reused = controller.post("/v1/rollouts/scale-1/abort", {"actor": "mallory", "request_id": "r-1"})
        assert reused.status_code == 400
        expect(row_of(trail, "mallory")).to_contain_text(re.compile(r"abort.*refused.*r-1", re.DOTALL))
        use(page, "Abort", "not this one")
        expect(row_of(trail, "grace")).to_contain_text(
            re.compile(r"abort.*done.*Paused, step 1, 10\s%\s→\sAborting.*not this one", re.DOTALL)
        )
        late.page.get_by_label("Your name").fill("eve")
        late.page.get_by_label("Reason").fill("mine")
        late.page.get_by_role("button", name="Promote").click()
        expect(late.page.get_by_role("alert")).to_be_visible()
        late.page.goto(f"{controller.url}/rollouts/scale-1")
        trail = late.page.get_by_role("table", name="Who did what with this rollout")
        expect(row_of(trail, "eve")).to_contain_text(re.compile(r"promote.*refused.*abort", re.DOTALL | re.IGNORECASE))
        # Chromium writes the status of a refused form to the console.
        assert [fault for fault in late.faults if "409" not in fault] == []
    page.get_by_role("link", name="Audit log", exact=True).click()
    log = page.get_by_role("table", name="Who did what")
    expect(row_of(log, "mallory")).to_have_count(1)
    page.get_by_label("Who", exact=True).fill("eve")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"actor=eve"))
    expect(log.get_by_role("row")).to_have_count(2)
    expect(row_of(log, "eve")).to_contain_text("refused")
    controller.post("/v1/rollouts", {"model": "scale", "version": 99, "actor": "eve"})
    expect(log.get_by_role("row")).to_have_count(3)
    assert page.evaluate("location.search").endswith("actor=eve"), "it moved without a reload"


def row_of(table: Locator, actor: str) -> Locator:
    """Return the rows of an audit trail that name an actor."""
    return table.get_by_role("row").filter(has=table.page.locator("[data-label=Who]", has_text=actor))


def test_mistakes_are_shown_beside_their_fields(controller: RunningController, visitor: Visit) -> None:
    page = visitor.page
    page.goto(f"{controller.url}/models/scale")
    fill_start(page, "2", [("50", "3", "50"), ("10", "3", "50")])
    page.get_by_role("button", name="Start rollout").click()
    expect(page.locator("#steps-error")).to_contain_text("higher than the one before")
    expect(page.locator("#steps-error")).to_be_in_viewport()
    expect(page.get_by_label("Your name")).to_have_value("ada")
    assert visitor.audit() == []
    visitor.shoot(PICTURES, "mistakes-1280-light")
    # Chromium writes the status of a refused form to the console.
    visitor.faults[:] = [fault for fault in visitor.faults if "400" not in fault]
    assert controller.get("/v1/rollouts")["rollouts"] == []


def test_everything_works_without_a_mouse(controller: RunningController, visitor: Visit) -> None:
    page = visitor.page
    page.goto(controller.url)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    press_until(page, "document.activeElement.textContent === 'scale'")
    page.keyboard.press("Enter")
    page.wait_for_url("**/models/scale")
    press_until(page, "document.activeElement.id === 'version'")
    page.keyboard.type("2")
    press_until(page, "document.activeElement.id === 'actor'")
    page.keyboard.type("ada")
    press_until(page, "document.activeElement.type === 'submit'")
    page.keyboard.press("Enter")
    page.wait_for_url("**/rollouts/scale-1")
    expect(page.locator("#state")).to_contain_text("Progressing")
    press_until(page, "document.activeElement.id === 'verb-pause'")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert page.evaluate("document.activeElement.id") == "verb-pause", "focus is where it was"
    page.keyboard.press("Enter")
    expect(page.locator("dialog #actor")).to_be_focused()
    page.keyboard.type("grace")
    page.keyboard.press("Tab")
    page.keyboard.type("by hand")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#state")).to_contain_text("Paused")
    outline = page.evaluate(
        "() => { const a = document.querySelector('#actions a'); a.focus({focusVisible: true});"
        " return getComputedStyle(a).outlineStyle }"
    )
    assert outline == "solid", "what has the focus can be seen"


def press_until(page: Page, condition: str) -> None:
    """Go on with the tabulator until the focus is where it should be."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate(condition):
            return
    raise AssertionError(f"80 tabs did not lead to {condition}")


def test_everything_works_without_a_script(controller: RunningController, browser: Browser) -> None:
    with visit(browser, controller.url, java_script_enabled=False, viewport=PHONE) as visitor:
        page = visitor.page
        page.goto(controller.url)
        page.get_by_role("link", name="scale", exact=True).click()
        fill_start(page, "1", [("20", "600", "50")])
        page.get_by_role("button", name="Start rollout").click()
        expect(page.locator("#state")).to_contain_text(re.compile("Preparing|Progressing"))
        expect(page.locator("#state")).to_contain_text("Progressing", timeout=15_000)  # by the refresh
        expect(page.locator("#history time").first).to_contain_text("UTC")
        page.get_by_role("link", name="Abort", exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Abort scale-1?")
        page.get_by_label("Your name").fill("grace")
        page.get_by_label("Reason").fill("no script")
        page.get_by_role("button", name="Abort", exact=True).click()
        expect(page.locator("#state")).to_contain_text(re.compile("Aborting|Aborted"))
        assert visitor.faults == []


def test_an_open_page_neither_delays_the_controllers_end_nor_needs_a_reload_after_its_restart(
    controller: RunningController, browser: Browser
) -> None:
    with visit(browser, controller.url, viewport=DESKTOP) as visitor:
        page = visitor.page
        start_by_clicking(page, controller.url, "2", [("10", "600", "50")])
        expect(page.locator("#connection")).to_have_text("Live")
        assert controller.stop() == 0
        expect(page.locator("#connection")).to_contain_text("Not connected")
        controller.start_again()
        expect(page.locator("#connection")).to_have_text("Live")
        use(page, "Abort", "after the restart")
        expect(page.locator("#history")).to_contain_text("after the restart")


SCREENS = [(size, scheme) for size in ({"width": 360, "height": 780}, PHONE, DESKTOP) for scheme in ("light", "dark")]


def test_every_page_is_accessible_fits_every_screen_and_has_its_picture_taken(
    controller: RunningController, browser: Browser
) -> None:
    steps = [{"weight_percent": 10, "duration_s": 1, "min_requests": 50}, {"weight_percent": 50, "duration_s": 600}]
    controller.post("/v1/rollouts", {"model": "scale", "version": 9, "actor": "ada", "steps": steps})
    controller.until("/v1/rollouts/scale-1", lambda rollout: not rollout["active"])
    controller.post("/v1/rollouts", {"model": "scale", "version": 2, "actor": "ada", "steps": steps})
    controller.until("/v1/rollouts/scale-2", lambda r: r["step"] == 2 and r["evidence"]["candidate"]["requests"] > 2000)
    under_way = {
        "index": "/",
        "model": "/models/scale",
        "rollout": "/rollouts/scale-2",
        "failed": "/rollouts/scale-1",
        "confirm": "/rollouts/scale-2/promote",
        "audit": "/audit",
    }
    for size, scheme in SCREENS:
        take_pictures(browser, controller.url, size, scheme, under_way)
    controller.post("/v1/rollouts/scale-2/abort", {})
    controller.until("/v1/rollouts/scale-2", lambda rollout: not rollout["active"])
    for size, scheme in SCREENS:
        take_pictures(browser, controller.url, size, scheme, {"start": "/models/scale"})


def take_pictures(browser: Browser, url: str, size: Any, scheme: Any, pages: dict[str, str]) -> None:
    with visit(browser, url, viewport=size, color_scheme=scheme) as visitor:
        page, screen = visitor.page, f"{size['width']}-{scheme}"
        for name, path in pages.items():
            page.goto(url + path)
            expect(page.locator("time:not([title])")).to_have_count(0)
            for details in page.locator("#checks details, .tolerances").all():
                details.evaluate("each => { each.open = true }")
            assert visitor.audit() == [], (name, screen)
            visitor.shoot(PICTURES, f"{name}-{screen}")
            for button in page.get_by_role("link", name="Promote", exact=True).all():
                button.click()
                expect(page.get_by_role("dialog")).to_be_visible()
                page.screenshot(path=PICTURES / f"dialog-{screen}.png")
        assert visitor.faults == []
