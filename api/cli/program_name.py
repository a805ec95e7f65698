"""The name of this program for messages with advice."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

NAME = "unbroken"


def program() -> str:
    """The command's name if it is on the PATH, else its path, as in `.venv/bin/unbroken`."""
    script = Path(sys.executable).parent / NAME
    found = shutil.which(NAME)
    if not script.exists() or (found and Path(found).absolute() == script.absolute()):
        return NAME
    here = Path.cwd()
    return shlex.quote(str(script.relative_to(here) if script.is_relative_to(here) else script))
