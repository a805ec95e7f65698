"""The client of `clients/python` for commands: one line per error, no traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from unbroken_client.client import Unbroken
from unbroken_client.errors import ApiError, UnbrokenError
from unbroken_client.transport import Retries

from api.cli.connect.api_session import LINE_CHARS_MAX, ApiRefusal, url_of
from api.cli.errors import CannotRun
from api.cli.fact_line import printable


@dataclass(frozen=True)
class Where:
    """The values of --url, --key and --data."""

    url: str | None
    key: str | None
    path: Path

    def base(self) -> str:
        """The URL of the API; raises CannotRun if no service runs on the data folder."""
        return self.url or url_of(self.path)


@contextmanager
def client(where: Where, retries: Retries | None = None) -> Iterator[Unbroken]:
    """A client; raises CannotRun without a key, and ApiRefusal if the API refuses."""
    base = where.base()
    if not where.key:
        raise CannotRun("no API key: give --key, or set UNBROKEN_KEY")
    try:
        with Unbroken(base, where.key, retries) as made:
            yield made
    except ValueError as error:
        raise CannotRun(f"{error}") from None
    except ApiError as error:
        raise refusal(error) from None
    except UnbrokenError as error:
        raise CannotRun(str(error)) from None


def refusal(error: ApiError) -> ApiRefusal:
    """A problem in one line, plus one line per field."""
    said = [f"{error.detail} ({error.code})"]
    said += [f"{field_error.field} {field_error.message}" for field_error in error.fields]
    return ApiRefusal("\n  ".join(printable(line, LINE_CHARS_MAX) for line in said), error.code)
