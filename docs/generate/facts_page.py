"""Write docs/facts.md and docs/facts/*.schema.json anew from the catalogue.

python -m docs.generate.facts_page
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from models.identity.tenants import Tenant
from webhooks import fact_samples
from webhooks.fact_catalogue import ENTRIES
from webhooks.fact_schemas import FactField, FactType, Schema, envelope, schema

DOCS = Path(__file__).resolve().parents[2] / "docs"

# The examples are of one moment, so that the page changes only when what it says does.
_MOMENT_US = 1_779_559_451_000_000  # 2026-05-23T18:04:11Z
_FACT_ID = UUID("019e5600-0af8-7b2c-9d41-6f0e5a3c7b12")
_TENANT = Tenant(1, "acme", "live", True, 0, b"")

_HEAD = """# Facts

Facts are what [webhooks](webhooks.md) deliver and `GET /facts` lists. Each change creates one fact,
committed together with the change. Generated from `webhooks/fact_catalogue.py` by
`python -m docs.generate.facts_page`; a test compares it with the facts that are sent. The examples
are the samples that `unbroken trigger` and `POST /admin/webhooks/{id}/test` send.

Releases may add fields and types: ignore the ones you do not know. No field is removed or changes
its meaning.
"""


def files() -> dict[Path, str]:
    """Every file of the catalogue and its text."""
    made = {_schema_path(entry): _pretty(schema(entry)) for entry in ENTRIES}
    return made | {DOCS / "facts.md": _page()}


def _schema_path(entry: FactType) -> Path:
    return DOCS / "facts" / f"{entry.kind}.schema.json"


def _page() -> str:
    rows = [
        f"| [`{entry.kind}`](#{_anchor(entry.kind)}) | {_first(entry.when)} |" for entry in ENTRIES
    ]
    table = "\n".join(["| type | sent when |", "|---|---|", *rows])
    around = "\n".join(["## Around every payload", "", *_table(envelope(ENTRIES[0]))])
    return "\n\n".join([_HEAD.rstrip(), table, around, *map(_section, ENTRIES)]) + "\n"


def _section(entry: FactType) -> str:
    example = json.loads(fact_samples.body(entry.kind, _TENANT, _MOMENT_US, _FACT_ID))
    return "\n".join(
        [
            f"## {entry.kind}",
            "",
            entry.when,
            "",
            *_table(entry.payload),
            "",
            f"[JSON Schema](facts/{entry.kind}.schema.json)",
            "",
            f"```json\n{_pretty(example)}```",
        ]
    )


def _table(fields: tuple[FactField, ...]) -> Iterator[str]:
    yield "| field | type | |"
    yield "|---|---|---|"
    for field in fields:
        name = f"`{field.name}`" if field.is_always else f"`{field.name}`, if any"
        yield f"| {name} | {_type(field)} | {field.meaning} |"


def _type(field: FactField) -> str:
    """How a reader calls the kind of value."""
    if field.name in ("type", "participant_id", "sequence"):  # of the envelope: differ by type
        return {"type": "string", "participant_id": "string or null"}.get(
            field.name, "integer or null"
        )
    return _words(field.schema)


def _words(schema: Schema) -> str:
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if schema.get("format") == "date-time":
        kinds = ["instant" if kind == "string" else kind for kind in kinds]
    return " or ".join(kinds)


def _first(text: str) -> str:
    """The first sentence."""
    return text.split(". ")[0].rstrip(".")


def _anchor(kind: str) -> str:
    """As renderers of Markdown make it from the heading."""
    return kind.replace(".", "")


def _pretty(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write them all."""
    for path, text in files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
