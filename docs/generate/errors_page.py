"""What of the documentation is made from the code: the page of errors and the site's reference.

`python -m docs.generate.errors_page` writes docs/errors.md anew; a test holds it against the codes.
"""

from __future__ import annotations

import sys
from pathlib import Path

from flask import render_template

from api.app import create_app
from api.cli.commands.openapi import NOWHERE
from api.http.problems import CODES, TITLES
from api.openapi import html as pages
from api.openapi.document import document

ROOT = Path(__file__).resolve().parents[2]
ERRORS = ROOT / "docs" / "errors.md"
_STYLE = ROOT / "api" / "openapi" / "templates" / "reference.css"

_HEAD = """# Errors

Every refusal is a problem document (RFC 9457, `application/problem+json`). Switch on `code`: the
list is closed, and no code is renamed. `detail` is for people and may change. Invalid input names
each field in `errors`; the input is not echoed. 429 and 503 carry `Retry-After`: wait that long,
then send the same request again.

A 4xx or 503 means that nothing was kept, and that nothing of it is applied later. The one exception
is `outcome_unknown`. It means *perhaps*, as do a 500 and a connection that ends without an answer.
Send such a request again only where a second one has no second effect: with the same
`Idempotency-Key`, an award of a badge, a participant, or any method but POST. Otherwise read first
whether it is there.

A field of a body and a parameter of a query that the reference does not list is refused with 422
`unknown_field`; its message names the closest one that is listed: "did you mean `timezone`?". Where
something else is wrong too, the whole is a `validation_error` and `errors` has both. Nothing inside
`attributes` and `metadata` is looked at. `unbroken tenant set TENANT --unknown-fields allow` has
unknown names ignored for one tenant, as releases before did.

```json
{
  "type": "urn:unbroken:error:validation_error",
  "title": "Unprocessable Content",
  "status": 422,
  "detail": "Invalid: amount",
  "code": "validation_error",
  "request_id": "5f0c…",
  "errors": [
    {
      "field": "amount",
      "code": "greater_than_equal",
      "message": "must be at least 1"
    }
  ]
}
```

Made from `api/http/problems.py` by `python -m docs.generate.errors_page`.
"""
# What whoever is refused can do about it, by status.
_DO = {
    400: "Send something else; nothing was stored.",
    401: "Send a key that is valid, once.",
    403: "Use a key with the scope, or ask the operator.",
    404: "Check the id or code, and which side (live or test) the key is of.",
    405: "Use one of the methods in `Allow`.",
    408: "Send the body faster, or in one piece.",
    409: "Look at what is there now; sending the same again will not help.",
    413: "Send less at once.",
    415: "Say in `Content-Type` what you send.",
    422: "Mend the fields that `errors` names.",
    429: "Wait as long as `Retry-After` says.",
    500: "It is our fault: report it with the `request_id`.",
    503: "Wait as long as `Retry-After` says, and send the same again; after `outcome_unknown` only"
    " with the same `Idempotency-Key`, or where a second request has no second effect.",
}


def errors_page() -> str:
    """The page of errors: each status with what to do, and its codes."""
    parts = [_HEAD]
    for status in dict.fromkeys(status for status, _ in CODES.values()):
        parts.append(f"## {status} {TITLES.get(status, 'Error')}\n")
        if status in _DO:
            parts.append(f"{_DO[status]}\n")
        rows = [f"| `{code}` | {text} |" for code, (of, text) in CODES.items() if of == status]
        parts.append("\n".join(["| code | meaning |", "|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def write_reference(folder: Path) -> None:
    """The API's reference as it is served at /reference, with its style sheet."""
    folder.mkdir(parents=True, exist_ok=True)
    app = create_app(NOWHERE)
    with app.test_request_context():
        html = render_template("reference.html", **pages.contents(document(app)))
    here = html.replace("/reference.css", "reference.css").replace("#top", "index.html", 1)
    (folder / "api.html").write_text(here)
    (folder / "reference.css").write_text(_STYLE.read_text())


def main() -> int:
    """Write the page of errors anew."""
    ERRORS.write_text(errors_page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
