"""The dashboard: HTML pages rendered on the server from the API's answers.

A page reads no table that the API serves: it sends requests to the API, inside this process and
with the key of the signed-in user (api_client.py). So access, changes, refusals and audit entries
are decided in one place.

A new page needs a module with its views on `layout.blueprint`, an entry in pages.py, a template,
and an entry in `layout.NAVIGATION`. A definition type is an entry in `definition_types.KINDS`.
"""
