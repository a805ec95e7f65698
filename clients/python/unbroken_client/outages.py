"""Outages: spans in which no participant loses a streak. They need an admin key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from unbroken_client.results import Outage, read
from unbroken_client.transport import Call, Transport

_PATH = "/admin/outages"


@dataclass(frozen=True)
class Outages:
    """The operations on outages."""

    transport: Transport

    def add(
        self,
        starts_at: str,
        ends_at: str,
        reason: str,
        streak_codes: Sequence[str] | None = None,
    ) -> Outage:
        """Protect the periods that overlap a span (RFC 3339), in every streak or in some."""
        body: dict[str, Any] = {"starts_at": starts_at, "ends_at": ends_at, "reason": reason}
        if streak_codes is not None:
            body["streak_codes"] = list(streak_codes)
        return read(Outage, self.transport.call(Call("POST", _PATH, body, is_safe=False)))

    def remove(self, outage_id: str) -> None:
        """Protect its periods no longer."""
        self.transport.call(Call("DELETE", f"{_PATH}/{quote(outage_id, safe='')}"))

    def list(self) -> Iterator[Outage]:
        """All outages, newest first, page by page."""
        number, seen = 1, 0
        while True:
            window = {"page": number, "page_size": 100}
            page = self.transport.call(Call("GET", _PATH, params=window))
            yield from (read(Outage, item) for item in page["items"])
            number, seen = number + 1, seen + len(page["items"])
            if seen >= page["total"] or not page["items"]:
                return
