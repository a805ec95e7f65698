"""`python -m api.cli`: the command line without its installed script."""

from __future__ import annotations

from api.cli.main import main

main(prog_name="unbroken")
