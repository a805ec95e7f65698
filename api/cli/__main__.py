"""`python -m api.cli`: the command line where its script is not installed."""

from __future__ import annotations

from api.cli.main import main

main(prog_name="unbroken")
