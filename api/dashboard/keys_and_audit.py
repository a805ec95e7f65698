"""API keys of the tenant's mode, and the audit log."""

from __future__ import annotations

from flask import request
from werkzeug.wrappers import Response as AnyResponse

from api.dashboard import api_client
from api.dashboard.layout import blueprint, page
from api.http.auth import principal, tenant
from api.http.request_context import app_context
from models import clock
from models.db import reading
from models.identity import tenants

ROWS = 50


@blueprint.get("/keys")
def keys() -> AnyResponse:
    """Every key of this mode, without its secret, which is not stored. Keys are created and revoked
    on the operator's command line."""
    with reading(app_context().engine) as connection:  # the API's own requests may not read keys
        found = tenants.list_keys(connection, [tenant().id])
    return page("keys.html", title="Keys", found=found, mine=principal().key.id, now=clock.now())


@blueprint.get("/audit-log")
def audit_log() -> AnyResponse:
    """The audit entries."""
    wanted = {name: request.args.get(name, "") for name in ("action", "target", "after")}
    found = api_client.get("admin", "audit-log", limit=ROWS, **wanted)
    return page("audit_log.html", title="Audit log", found=found, wanted=wanted)
