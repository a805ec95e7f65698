"""`unbroken import`: files of histories, read strictly, sent in batches, resumable.

A *kind* of row (ticks, awards, ...) is one declaration, a `Kind` in `KINDS` (registry.py): its
fields in order, which of them are needed, how each is read, where the items go, and which columns
of `unbroken export` it passes over. A new kind needs nothing else in this folder. Conventions:

1. A field has the name of the API's field. `Field.read` turns a cell (text of a CSV, any value of
   NDJSON; never empty) into the item's value, or raises BadRow with a sentence. cells.py has the
   usual ones: text, zone, json_object, whole_number, ... Empty cells are left out of the item.
2. What needs more than one cell (an instant and the zone of its row) is done by `Kind.finish`.
3. `Kind.send` posts one batch under an Idempotency-Key and returns one result per item, in order.
   Sent again with the same key and items it must have no second effect: a killed import does that.
4. Nothing is guessed: an unknown column, a missing one, a value that is not understood are refused,
   with the line and the way out. What is only for people (`tick_id` of an export) is in `ignored`.
5. `Kind.definitions` names the list of the API that the codes of `code_field` are looked up in, and
   `Kind.day` the day for which an item counts: for `--dry-run`.

Steps: source.py (bytes to lines) -> source_rows.py (lines to rows) -> columns.py (which column is
which field) -> mapping.py (rows to items) -> sending.py (batches, checkpoint.py, rejects.py), or
preview.py for `--dry-run`.
"""
