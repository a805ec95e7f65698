"""What a granian worker loads: the API, and before it ears for being asked to stop."""

from __future__ import annotations

import signal
from importlib import import_module

from flask import Flask


def create_app() -> Flask:
    """The API. A worker that is asked to stop while it still loads ends at once.

    A worker is forked with its parent's handlers, which only make a note for the parent; until
    granian sets its own, after this, it would not hear, and be waited for in vain. The API is
    imported here and not above, because that is most of the loading.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    app: Flask = import_module("api.app").create_app()
    return app
