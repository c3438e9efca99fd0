"""How a sweep starts Python: its processes import what this one imports."""

from __future__ import annotations

import os
import sys


def python_command() -> list[str]:
    """Returns the command of this interpreter.

    `python -m` puts the current folder first on the path, where a user's own random.py would hide the standard
    library's. -P leaves that folder out, unless this process imports from it too, as in an uninstalled checkout.
    """
    here = {"", os.getcwd()} & set(sys.path)
    return [sys.executable] if here else [sys.executable, "-P"]
