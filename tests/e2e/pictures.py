"""Take the pictures of the dashboard that the README shows: `make pictures`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tests.e2e.browsing import PHONE, Service, browser, fill, open_page, sign_in
from tests.e2e.running import running_up, short_folder
from tests.receiver import Receiver

PAGES = {
    "overview": "/dashboard",
    "participant": "/dashboard/participants/amira",
    "streaks": "/dashboard/d/streaks",
    "streak": "/dashboard/d/streaks/daily_login",
    "people": "/dashboard/participants",
    "at-risk": "/dashboard/at-risk",
    "webhooks": "/dashboard/d/webhooks",
    "audit": "/dashboard/audit-log",
    "keys": "/dashboard/keys",
    "new-tier": "/dashboard/d/tiers/new",
}


def main() -> int:
    """Every page, by day and by night, on a desk and on a phone, into a folder."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    data = short_folder()
    try:
        with running_up(data / "data") as up, Receiver() as receiver, browser() as opened:
            service = Service(up, "acme")
            fill(service, receiver.url)
            for scheme in ("light", "dark"):
                for size, viewport in (("desk", None), ("phone", PHONE)):
                    options = {"viewport": viewport} if viewport else {}
                    page = open_page(opened, up, color_scheme=scheme, **options)
                    sign_in(page, service.key)
                    webhook = service.call("GET", "/admin/webhooks")["items"][0]["id"]
                    more = {"deliveries": f"/dashboard/webhooks/{webhook}"}
                    for name, path in (PAGES | more).items():
                        page.goto(path)
                        page.screenshot(path=folder / f"{name}-{size}-{scheme}.png")
                    page.context.close()
    finally:
        shutil.rmtree(data, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
