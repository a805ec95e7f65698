"""`unbroken import`: history files, parsed strictly, sent in batches, resumable.

A kind of row (ticks, awards, ...) is one declaration, a `RowKind` in `KINDS` (registry.py): its
fields in order, which are required, how each is parsed, where the items go, and which columns of
`unbroken export` it ignores. A new kind needs nothing else in this folder. Conventions:

1. A field has the API's name. `RowField.read` turns a cell (text of a CSV, any value of NDJSON;
   never empty) into the item's value, or raises BadRow with a message. cells.py has the usual
   parsers: text, zone, json_object, whole_number, ... The item omits empty cells.
2. `RowKind.finish` handles what needs several cells (an instant and the zone of its row).
3. `RowKind.send` posts a batch under an Idempotency-Key and returns one result per item, in order.
   The same key and items sent again must have no second effect: a resumed import sends them again.
4. Nothing is guessed: unknown and missing columns and unreadable values are refused with the line
   and advice. `ignored` has columns that are not imported (such as `tick_id` of an export).
5. `RowKind.definitions` names the API's list in which the codes of `code_field` are looked up, and
   `RowKind.day` the day for which an item counts: for `--dry-run`.

Steps: source.py (bytes to lines) -> source_rows.py (lines to rows) -> columns.py (columns to
fields) -> mapping.py (rows to items) -> sending.py (batches, checkpoint.py, rejects.py), or
preview.py for `--dry-run`.
"""
