"""How `tailrace` was called, for commands that are printed to be pasted."""

from __future__ import annotations

import shlex
import sys


def program() -> str:
    """Return the words, ready for a shell, that call this program again from the same directory."""
    called = sys.argv[0]
    # `python -m control.cli` names the module's file, which is no program.
    return shlex.join([sys.executable, "-m", "control.cli"] if called.endswith(".py") else [called])
