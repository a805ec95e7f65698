"""The dashboard's main journeys, in a real browser against the whole service."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.browsing import PHONE, Service, fill, open_page, sign_in
from tests.e2e.running import Up
from tests.integration.mending import day
from tests.receiver import Receiver

pytestmark = pytest.mark.promise("P16")


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def service(up: Up, receiver: Receiver) -> Service:
    """A tenant with half a year of data."""
    service = Service(up, "acme")
    fill(service, receiver.url)
    return service


@pytest.fixture
def page(chromium: Browser, up: Up, service: Service) -> Iterator[Page]:
    """Signed in to the live side."""
    page = open_page(chromium, up)
    sign_in(page, service.key)
    yield page
    page.context.close()


def test_a_newcomer_gets_from_signing_in_to_a_verified_delivery(
    chromium: Browser, up: Up, receiver: Receiver
) -> None:
    """A streak made here, a tick from outside, its day on the calendar, its delivery in the log."""
    service = Service(up, "newcomer")
    page = open_page(chromium, up)
    sign_in(page, service.key)
    page.get_by_role("link", name="Destinations").click()
    page.get_by_role("link", name="New destination").first.click()
    page.get_by_label("URL").fill(receiver.url)
    page.get_by_role("button", name="Create destination").click()
    secret = page.locator("pre").inner_text()
    assert secret.startswith("whsec_")
    receiver.trust(secret)
    page.reload()  # nothing is made by it: the secret is gone, and there is one destination
    expect(page.locator(".notice")).to_contain_text("shown once")
    assert service.call("GET", "/admin/webhooks")["total"] == 1
    page.get_by_role("link", name="Streaks").click()
    page.get_by_role("link", name="New streak").first.click()
    page.get_by_label("Code").fill("daily_login")
    page.get_by_label("Name").fill("Daily Login")
    page.get_by_role("button", name="Create streak").click()
    expect(page.locator(".notice")).to_have_text("Streak created")
    expect(page.locator("pre", has_text='"streak_code": "daily_login"')).to_be_in_viewport()
    recorded = service.call("POST", "/streaks/record", service.tick("user_42", 0))
    assert recorded["new_count"] == 1
    page.get_by_role("link", name="Participants", exact=True).click()
    page.get_by_role("link", name="user_42").click()
    expect(page.locator("section .recorded rect").first).to_be_visible()
    expect(page.get_by_text("1 day is recorded since then, so the count is 1.")).to_be_visible()
    page.get_by_role("link", name="Destinations").click()
    page.get_by_role("link", name=receiver.url).click()
    page.get_by_text("delivered", exact=True).nth(1).wait_for()
    page.locator("tbody a").first.click()
    expect(page.get_by_text('"behavior.streak_recorded"')).to_be_visible()
    expect(page.get_by_text("200 ·")).to_be_visible()
    receiver.wait_for(1)
    assert not receiver.invalid
    page.context.close()


def test_a_streak_is_edited_and_paused(page: Page, service: Service) -> None:
    page.get_by_role("link", name="Streaks").click()
    page.get_by_role("link", name="weekly_workout").click()
    page.locator("#f-grace_periods").fill("3")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#f-grace_periods")).to_have_value("3")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("row", name="weekly_workout")).to_contain_text("paused")
    assert service.call("GET", "/streaks/weekly_workout")["is_active"] is False
    page.get_by_role("link", name="weekly_workout").click()
    page.get_by_role("button", name="Resume").click()
    assert service.call("GET", "/streaks/weekly_workout")["is_active"] is True


def test_a_broken_streak_is_restored_in_three_clicks(page: Page, service: Service) -> None:
    for days_ago in (5, 4, 1, 0):
        service.call("POST", "/streaks/record", service.tick("kim", days_ago))
    page.goto("/dashboard/participants/kim")
    page.get_by_role("link", name="Restore: Daily Login").click()
    expect(page.get_by_role("row", name="daily_login")).to_contain_text("4")
    page.get_by_label("Reason").click()
    page.keyboard.type("Our outage")
    page.get_by_role("button", name="Restore").click()
    expect(page.locator(".notice")).to_have_text("Restored")
    expect(page.locator(".big").first).to_contain_text("4")


@pytest.mark.parametrize(
    ("action", "fields", "notice"),
    [
        ("Add a day: Daily Login", {"Period": day(1)}, "Added"),
        ("Retract a day: Daily Login", {"Period": day(3)}, "Retracted"),
        ("Give a freeze: Daily Login", {"How many": "2"}, "Freezes given"),
        ("Pause", {"First day": day(2), "Last day": day(2)}, "Paused"),
        ("Award points", {"Points": "70"}, "Points awarded"),
        ("Award a badge", {"Badge code": "first_steps"}, "Badge awarded"),
        ("Suspend", {}, "Suspended"),
        ("Activate", {}, "Activated"),
        ("Erase", {}, "Erased"),
    ],
)
def test_an_action_on_a_participant_is_shown_and_then_done(
    page: Page, service: Service, action: str, fields: dict[str, str], notice: str
) -> None:
    """In their order: the last one erases whom the others were about."""
    if notice == "Added":
        for days_ago in (3, 0):
            service.call("POST", "/streaks/record", service.tick("lee", days_ago))
    page.goto("/dashboard/participants/lee")
    page.get_by_role("link", name=action, exact=True).click()
    for label, value in fields.items():
        page.get_by_label(label).fill(value)
    if fields:
        page.get_by_role("button", name="Show what will happen").click()
    expect(page.get_by_role("heading", name="What will happen")).to_be_visible()
    page.get_by_label("Reason").fill("A journey")
    page.get_by_role("button", name=action.partition(":")[0]).click()
    expect(page.locator(".notice")).to_have_text(notice)


def test_what_is_wrong_is_said_beside_its_field_and_kept(page: Page) -> None:
    page.goto("/dashboard/d/tiers/new")
    page.get_by_label("Code").fill("a b")
    page.get_by_label("Level").fill("high")
    page.get_by_role("button", name="Create tier").click()
    expect(page.get_by_role("alert")).to_be_visible()
    assert page.locator(".has-error").count() >= 2
    expect(page.get_by_label("Code")).to_have_value("a b")


def test_people_are_found_while_one_types(page: Page) -> None:
    page.goto("/dashboard/participants")
    expect(page.locator("tbody tr").nth(9)).to_be_visible()
    page.get_by_label("Part of an id or a name").press_sequentially("Doe")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.get_by_role("link", name="jane")).to_be_visible()


def test_who_is_at_risk_is_exported(page: Page, tmp_path: Path) -> None:
    page.goto("/dashboard/at-risk?code=daily_login")
    shown = page.locator("tbody tr").count()
    assert shown >= 1
    with page.expect_download() as download:
        page.get_by_role("link", name="Export CSV").click()
    download.value.save_as(tmp_path / "at-risk.csv")
    lines = (tmp_path / "at-risk.csv").read_text().splitlines()
    assert lines[0].startswith("participant_id,streak_code,current_count")
    assert len(lines) == shown + 1


def test_the_overview_moves_by_itself(page: Page, service: Service) -> None:
    facts = page.locator(".tiles > div", has_text="Facts").locator("dd")
    before = int(facts.inner_text().replace(",", ""))
    service.call("POST", "/points/award", {"participant_id": "new", "amount": 1})
    expect(facts).not_to_have_text(f"{before:,}", timeout=15_000)


def test_a_sample_is_sent_and_its_outcome_shown(page: Page, receiver: Receiver) -> None:
    page.goto("/dashboard/d/webhooks")
    page.get_by_role("link", name=receiver.url).first.click()
    page.get_by_role("button", name="Send a sample fact").click()
    expect(page.get_by_role("heading", name="A sample fact was sent")).to_be_visible()
    expect(page.locator(".tag").last).to_have_text("delivered")


def test_a_form_is_sent_once_though_its_button_be_clicked_twice(page: Page) -> None:
    """Counted in the page: how many would be sent in between is a matter of the network's speed."""
    page.goto("/dashboard/d/webhooks/new")
    assert page.evaluate(CLICKED_TWICE, "form.fields button.main") == 1


CLICKED_TWICE = """(button) => {
  let sent = 0;
  addEventListener("submit", (event) => {
    sent += event.defaultPrevented ? 0 : 1;
    event.preventDefault();
  });
  document.querySelector(button).click();
  document.querySelector(button).click();
  return sent;
}"""


def test_everything_can_be_done_from_the_keyboard(
    chromium: Browser, up: Up, service: Service
) -> None:
    page = open_page(chromium, up)
    page.goto("/dashboard")
    page.keyboard.type(service.key)
    page.keyboard.press("Enter")
    page.wait_for_url("**/dashboard")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    focused = "document.activeElement.id"
    assert page.evaluate(focused) == "main"
    for _ in range(40):
        page.keyboard.press("Shift+Tab")
        if page.evaluate("document.activeElement.textContent.trim()") == "Streaks":
            break
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Streaks", level=1)).to_be_visible()
    page.context.close()


PAGES = (
    "", "/d/streaks", "/d/streaks/daily_login", "/d/rewards", "/participants",
    "/participants/jane", "/participants/jane/do/pause",
    "/participants/jane/do/restore?streak=daily_login",
    "/at-risk", "/d/webhooks", "/dead-letters", "/keys", "/audit-log",
)  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_no_page_is_wider_than_the_screen(
    chromium: Browser, up: Up, service: Service, scheme: str
) -> None:
    page = open_page(chromium, up, viewport=PHONE, color_scheme=scheme)
    sign_in(page, service.key)
    for path in PAGES:
        page.goto(f"/dashboard{path}")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path
    page.context.close()


def test_by_night_it_is_dark(chromium: Browser, up: Up, service: Service) -> None:
    grounds = []
    for scheme in ("light", "dark"):
        page = open_page(chromium, up, color_scheme=scheme)
        sign_in(page, service.key)
        grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        page.context.close()
    lightness = [sum(map(int, re.findall(r"\d+", one)[:3])) for one in grounds]
    assert lightness[0] > 600
    assert lightness[1] < 150


def test_the_sandbox_looks_like_no_production(chromium: Browser, up: Up, service: Service) -> None:
    page = open_page(chromium, up)
    sign_in(page, service.test_key)
    expect(page.get_by_role("status").first).to_contain_text("TEST")
    page.goto("/dashboard/participants")
    expect(page.get_by_text("No participants yet")).to_be_visible()
    page.context.close()


def test_the_pages_break_no_rule_of_their_own_policy(page: Page) -> None:
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    for path in PAGES:
        page.goto(f"/dashboard{path}")
    page.goto("/dashboard")
    page.wait_for_timeout(3_500)  # the overview has asked again
    assert said == []
