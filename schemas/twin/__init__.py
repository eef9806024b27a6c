"""The compiled twin of hot generated functions: optional, built by Cython where there is a C compiler (`setup.py`).

What its modules do, generated Python does as well (`schemas/codecs`): without the twin a service is slower, and the
same in every byte. The modules are Python, and run as such: tests hold them, built or not, against the generated
functions.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def built(name: str) -> ModuleType | None:
    """Return a module of the twin if it is built; None: the generated functions do its work."""
    try:
        module = import_module(f"schemas.twin.{name}")
    except ImportError:
        # Unbuilt it needs Cython, which only developers have.
        return None
    return module if module.COMPILED else None
