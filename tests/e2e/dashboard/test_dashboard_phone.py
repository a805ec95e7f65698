"""The dashboard on a phone: what matters is on the screen, and the menu is not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.e2e.browsing import PHONE, Service, fill, open_page, sign_in
from tests.e2e.running import Up
from tests.receiver import Receiver


@pytest.fixture(scope="module")
def service(up: Up) -> Iterator[Service]:
    """A tenant with half a year of data."""
    service = Service(up, "acme")
    with Receiver() as receiver:
        fill(service, receiver.url)
        yield service


@pytest.fixture
def page(chromium: Browser, up: Up, service: Service) -> Iterator[Page]:
    """Signed in to the live side, on a phone."""
    page = open_page(chromium, up, viewport=PHONE)
    sign_in(page, service.key)
    yield page
    page.context.close()


def right_of(one: Locator) -> float:
    """Where something ends, from the left of the screen."""
    box = one.bounding_box()
    assert box, one
    return box["x"] + box["width"]


# Of each row: how tall it is, where its cells end, and where its first line stands.
ROWS = """() => [...document.querySelectorAll("table tbody tr")].map(row => ({
  height: row.getBoundingClientRect().height,
  right: Math.max(...[...row.cells].map(cell => cell.getBoundingClientRect().right)),
  lead: row.querySelector("td.lead").getBoundingClientRect().top,
  state: row.querySelector("td.state").getBoundingClientRect().top,
}))"""


def hook_of(service: Service) -> str:
    return str(service.call("GET", "/admin/webhooks")["items"][0]["id"])


def test_the_menu_is_closed_until_it_is_asked_for(page: Page) -> None:
    page.goto("/dashboard/d/streaks")
    link = page.get_by_role("link", name="Destinations")
    expect(link).to_be_hidden()
    heading = page.get_by_role("heading", name="Streaks", level=1).bounding_box()
    assert heading
    assert heading["y"] < 150
    page.get_by_role("button", name="Menu").click()
    expect(link).to_be_visible()
    page.keyboard.press("Escape")
    expect(link).to_be_hidden()
    page.get_by_role("button", name="Menu").press("Enter")
    page.get_by_role("button", name="Close").press("Enter")
    expect(link).to_be_hidden()
    page.get_by_role("button", name="Menu").press("Enter")
    page.keyboard.press("Tab")  # close
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Overview")).to_be_focused()
    link.press("Enter")
    expect(page.get_by_role("heading", name="Destinations", level=1)).to_be_visible()
    expect(link).to_be_hidden()


def test_on_a_wide_screen_the_menu_is_always_there(
    chromium: Browser, up: Up, service: Service
) -> None:
    page = open_page(chromium, up)
    sign_in(page, service.key)
    expect(page.get_by_role("link", name="Destinations")).to_be_visible()
    expect(page.get_by_role("button", name="Menu")).to_be_hidden()
    expect(page.get_by_role("button", name="Close")).to_be_hidden()
    page.goto("/dashboard/audit-log")
    (head,) = page.locator("th", has_text="Address").all()
    assert right_of(head) <= 1_280
    heights = page.evaluate(ROWS)
    assert heights
    assert all(row["height"] < 70 for row in heights)  # two lines at most
    page.context.close()


@pytest.mark.parametrize(
    "path",
    ["/d/streaks", "/d/rewards", "/d/webhooks", "/participants", "/at-risk?code=daily_login",
     "/keys", "/audit-log", "/participants/jane", "/webhooks/{hook}"],
)  # fmt: skip
def test_how_each_stands_is_on_the_screen_and_no_row_is_tall(
    page: Page, service: Service, path: str
) -> None:
    page.goto(f"/dashboard{path.format(hook=hook_of(service))}")
    rows = page.evaluate(ROWS)  # at once: some pages load their rows anew
    assert rows
    for row in rows:
        assert row["height"] < 150
        assert row["right"] <= PHONE["width"]
        assert abs(row["lead"] - row["state"]) < 12  # how it stands is beside what it is


def test_a_calendar_begins_with_today_on_the_screen(page: Page) -> None:
    page.goto("/dashboard/participants/jane")
    calendars = page.locator(".scroll svg.calendar").all()
    assert len(calendars) == 2
    for one in calendars:
        assert right_of(one) <= PHONE["width"]
        box = one.locator("g").last.bounding_box()
        assert box
        assert 0 <= box["x"] < PHONE["width"]
    scrolled = page.locator(".newest").first.evaluate("one => one.scrollWidth > one.clientWidth")
    assert scrolled  # or the daily one were no test of it


def test_tags_of_challenges_are_as_wide_as_their_words(page: Page) -> None:
    page.goto("/dashboard/participants/jane")
    for tag in page.locator(".bars .tag").all():
        box = tag.bounding_box()
        assert box
        assert box["width"] < 110


@pytest.mark.parametrize("path", ["/audit-log", "/at-risk?code=daily_login", "/dead-letters"])
def test_a_label_stands_beside_its_input(page: Page, path: str) -> None:
    page.goto(f"/dashboard{path}")
    labels = page.locator(".bar label").all()
    assert labels
    for label in labels:
        name = label.get_attribute("for")
        one, other = label.bounding_box(), page.locator(f"#{name}").bounding_box()
        assert one
        assert other
        middle = one["y"] + one["height"] / 2
        assert other["y"] < middle < other["y"] + other["height"], name
        assert right_of(page.locator(f"#{name}")) <= PHONE["width"]
