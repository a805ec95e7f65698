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

Every error answer is a problem document (RFC 9457, `application/problem+json`). Switch on `code`:
the list is closed, and no code is renamed. `detail` is for people and may change. For invalid input
`errors` names each field; the input is not echoed. 429 and 503 carry `Retry-After`: wait that long,
then send the same request again.

A 4xx or 503 means that nothing was stored, and that nothing of the request is applied later. The
exception is `outcome_unknown`: the request may have been carried out. The same holds for a 500 and
for a connection that ends without an answer. In these cases it is safe to repeat a request with the
same `Idempotency-Key`, an award of a badge, the creation of a participant, and any method but POST.
For other requests, read first whether the write was stored.

A body field or query parameter that the reference does not list is refused with 422
`unknown_field`. Its message names the closest known one: "did you mean `timezone`?". If another
field is invalid too, the code is `validation_error` and `errors` holds both. The contents of
`attributes` and `metadata` are not checked. `unbroken tenant set TENANT --unknown-fields allow`
makes the API ignore unknown names for one tenant, as earlier releases did.

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

Generated from `api/http/problems.py` by `python -m docs.generate.errors_page`.
"""
# What the caller can do, by status.
_DO = {
    400: "Correct the request; nothing was stored.",
    401: "Send one valid key.",
    403: "Use a key with the admin scope, or ask the operator to enable the tenant.",
    404: "Check the id or code, and whether the key is a live or a test key.",
    405: "Use one of the methods in `Allow`.",
    408: "Send the whole body within 10 s.",
    409: "Read the current state. The same request will fail again.",
    413: "Send a smaller body.",
    415: "Set `Content-Type` to a supported type.",
    422: "Correct the fields that `errors` names.",
    429: "Wait as long as `Retry-After` says.",
    500: "Report it with the `request_id`.",
    503: "Wait as long as `Retry-After` says, then send the same request again. After"
    " `outcome_unknown`, repeat it only with the same `Idempotency-Key`, or if a repeat is safe.",
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
