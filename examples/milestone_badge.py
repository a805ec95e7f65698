"""Award a badge when a streak crosses a milestone: a webhook receiver.

    UNBROKEN_URL=http://127.0.0.1:8000 UNBROKEN_KEY=bq_live_… UNBROKEN_WEBHOOK_SECRET=whsec_… \\
      python examples/milestone_badge.py 9000

The secret is in the answer to POST /admin/webhooks, whose `url` is http://…:9000/webhooks/streaks.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import requests
from flask import Flask, request
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

URL = os.environ.get("UNBROKEN_URL", "http://127.0.0.1:8000") + "/api/v1/gamify"
HEADERS = {"X-API-Key": os.environ.get("UNBROKEN_KEY", "")}
TIMEOUT_SECONDS = 5  # the sender of the webhook waits 15 s
MILESTONE_BADGES = {
    "daily_login": {7: "week_warrior", 30: "month_master", 100: "century_streak"},
}

app = Flask(__name__)


@app.post("/webhooks/streaks")
def on_fact() -> tuple[str, int]:
    """Verify a fact and award its badges. Without a 2xx answer the fact is sent again."""
    try:
        signed = Webhook(os.environ["UNBROKEN_WEBHOOK_SECRET"])
        signed.verify(request.get_data(), dict(request.headers))
    except WebhookVerificationError:
        return "", 401
    fact = json.loads(request.get_data())
    if fact["type"] == "behavior.streak_recorded":
        for badge_code in crossed(fact["payload"]):
            award(fact["participant_id"], badge_code)
    return "", 204


def crossed(payload: dict[str, Any]) -> list[str]:
    """The badges of every count that this tick crossed; a late tick may cross several."""
    badges = MILESTONE_BADGES.get(payload["streak_code"], {})
    before, after = payload["previous_count"], payload["count"]
    return [badge for count, badge in badges.items() if before < count <= after]


def award(participant_id: str, badge_code: str) -> None:
    """Award a badge. Repeated deliveries of the fact award it once."""
    answer = requests.post(
        f"{URL}/badges/award",
        json={"participant_id": participant_id, "badge_code": badge_code},
        headers=HEADERS,
        timeout=TIMEOUT_SECONDS,
    )
    answer.raise_for_status()  # an error answers 500, so the fact is sent again


if __name__ == "__main__":
    app.run(port=int(sys.argv[1]))
