"""Keys, scopes, and running a write under the current configuration."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from flask import Flask, Request, g, request

from api.http.failed_key_throttle import client_address
from api.http.key_cache import Principal
from api.http.problems import Problem, unavailable
from api.http.request_context import EXTENSION, AppContext, app_context
from models.identity import tenants
from models.identity.tenants import Tenant
from workers.intake.client import Stale, Unavailable

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

P = ParamSpec("P")
T = TypeVar("T")

STALE_TRIES_MAX = 5  # each try fails only if the configuration changes at that moment
_READS = frozenset({"GET", "HEAD", "OPTIONS"})  # no version is checked for them
# In an environ: the key and principal found before a thread was taken.
KNOWN = "unbroken.known"
_NOT_ASKED: tuple[None, None] = None, None


def authenticate(here: Request) -> None:
    """Authenticate the caller; 401 or 403 otherwise. A read may use a key cached seconds ago."""
    key = g.key = presented_key(here)
    asked, principal = here.environ.get(KNOWN, _NOT_ASKED)
    if asked != key:
        principal = app_context().directory.cached(key)
    if principal is None or not principal.is_valid:
        principal = _found(here, key)
    elif not principal.tenant.is_enabled or (here.method in _READS and not principal.is_fresh):
        principal = _usable(_load(key))  # never refuse from the cache
    g.principal = principal


def _found(here: Request, key: str) -> Principal:
    """The principal of a key not known to be valid; 429 for a guess when too many look-ups failed
    from its address."""
    context, address = app_context(), client_address(here)
    is_spent = context.throttle.is_spent(address) and not context.directory.was_valid(key)
    if is_spent and not context.key_list.may_hold(key):
        context.throttle.check(address)
    loaded = _load(key)
    if loaded is None or not loaded.is_valid:
        context.throttle.failed(address)
        context.key_list.drop(key)
        if is_spent:
            context.throttle.check(address)
    return _usable(loaded)


def _load(key: str) -> Principal | None:
    if not tenants.is_well_formed(key):
        return None  # mistyped: not worth a query
    return app_context().directory.load(key, for_reading=request.method in _READS)


def presented_key(here: Request) -> str:
    """The key of this request. Both headers may carry it, but not two different keys."""
    keys = _presented(here.environ)
    if len(keys) != 1:
        raise _unauthorized(
            "Two different keys were given." if keys else "Send your key as X-API-Key."
        )
    return keys.pop()


def _presented(environ: WSGIEnvironment) -> set[str]:
    """Every key that is given. A header sent twice is one value with a comma."""
    if "HTTP_AUTHORIZATION" not in environ and "," not in (
        key := environ.get("HTTP_X_API_KEY", "")
    ):
        return {key.strip()} - {""}  # nearly every request
    keys = environ.get("HTTP_X_API_KEY", "").split(",")
    for part in environ.get("HTTP_AUTHORIZATION", "").split(","):
        scheme, _, bearer = part.strip().partition(" ")
        if scheme.lower() == "bearer":
            keys.append(bearer)
    return {key.strip() for key in keys} - {""}


def knows(app: Flask) -> Callable[[WSGIEnvironment], Hashable | None]:
    """Make a function from an environ to the caller, if its key was valid when last read here."""
    context: AppContext = app.extensions[EXTENSION]

    def name(environ: WSGIEnvironment) -> Hashable | None:
        keys = _presented(environ)
        if len(keys) != 1:
            return None
        key = keys.pop()
        found = context.directory.cached(key)
        environ[KNOWN] = key, found
        return found.key.id if found and found.is_valid else None

    return name


def _usable(principal: Principal | None) -> Principal:
    if principal is None or not principal.is_valid:
        raise _unauthorized("The API key is invalid, expired or revoked.")
    if not principal.tenant.is_enabled:
        raise Problem(403, "forbidden", "Tenant is disabled.")
    return principal


def _unauthorized(detail: str) -> Problem:
    return Problem(401, "unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})


def principal() -> Principal:
    """The authenticated caller."""
    return cast(Principal, g.principal)


def tenant() -> Tenant:
    """The tenant (in one mode) that this request may see."""
    return principal().tenant


def require_admin(view: Callable[P, T]) -> Callable[P, T]:
    """Let only keys with an admin scope in; a change is let in by the key as it is now."""

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        if request.method not in _READS:
            current_tenant()
        if not principal().key.is_admin:
            raise Problem(403, "forbidden", "This needs a key with the admin scope.")
        return view(*args, **kwargs)

    cast(Any, guarded).is_for_admins = True
    return guarded


def under_current_configuration(action: Callable[[Principal], T]) -> T:
    """Run a write; run it again if the configuration it was checked under is outdated."""
    for _ in range(STALE_TRIES_MAX):
        try:
            return action(principal())
        except Stale:
            read_principal_again()
    raise unavailable() from Unavailable()


def read_principal_again() -> None:
    """Read the key again; 401 or 403 if it is no longer valid."""
    g.principal = _usable(_load(g.key))


def current_tenant() -> Tenant:
    """The tenant of a change that is not queued, by a key that is valid now.

    Where the configuration changes, the key is read once: that many change it at the same moment
    refuses none of them. Raises Unavailable without Redis, which holds the current version.
    """
    if not is_current(principal()):
        read_principal_again()
    return tenant()


def tolerates_unknown() -> bool:
    """Whether the tenant may send unknown fields and parameters. A write never decides this from
    the cache: it checks the version first."""
    if request.method in _READS:
        return tenant().allows_unknown_fields
    if "allows_unknown_fields" not in g:
        g.allows_unknown_fields = current_tenant().allows_unknown_fields
    found: bool = g.allows_unknown_fields
    return found


def is_current(checked: Principal) -> bool:
    """Whether a refusal based on cached configuration still holds."""
    return app_context().intake.version(checked.tenant.id) == checked.version
