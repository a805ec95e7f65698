"""The clients and the snippets of other languages against a running service."""
