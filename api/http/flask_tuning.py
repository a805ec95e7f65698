"""Flask without what no request of ours needs."""

from __future__ import annotations

from typing import Any

from flask import Flask, Request
from werkzeug.routing import MapAdapter

from api.http import paths


class Application(Flask):
    """No view is a coroutine, and no route depends on the host that was asked: not to look for
    either saves a fourteenth of a write's time."""

    def ensure_sync(self, func: Any) -> Any:
        """The function as it is."""
        return func

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """What finds the route of a request, by its method and path alone."""
        if request is None or "HTTP_UPGRADE" in request.environ:
            return super().create_url_adapter(request)
        return MapAdapter(
            self.url_map,
            server_name="",
            script_name="/",
            subdomain="",
            url_scheme="http",
            path_info=paths.to_route(request.environ),
            default_method=request.method,
        )
