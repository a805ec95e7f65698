"""The dashboard: pages for people, made on the server from what the API answers.

A page never reads a table that the API reads for its callers: it sends the API the same requests,
inside this process and with the key of whoever signed in (calls.py). So what a person may see and
change, what is refused and why, and what stands in the audit log, is decided in one place.

To add a page: a module with its views on `frame.blueprint`, named in registry.py, a template beside
the others, an entry in `frame.NAVIGATION`. A kind of definition is an entry in `kinds.KINDS`.
"""
