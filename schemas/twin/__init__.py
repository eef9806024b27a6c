"""The compiled twin of hot generated functions: optional, built by Cython where there is a C compiler (`setup.py`).

What its modules do, generated Python does as well (`schemas/codecs`): without the twin a service is slower, and the
same in every byte. The modules are Python, and run as such: tests hold them, built or not, against the generated
functions.
"""

from __future__ import annotations

import sys
import warnings
from functools import cache
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from types import ModuleType

MODULES = (
    *("words", "values", "readings", "records", "plain", "copy_lines", "load_lines", "record_rows"),
    *("facts", "frames", "bundles", "producing", "writer", "rows", "packed", "documents", "cutting", "images", "cells"),
)
"""What is built. Each one may call those before it."""

WRITERS = {
    "LogWriter": "rows",
    "CopyWriter": "rows",
    "ImageWriter": "images",
    "CellWriter": "cells",
    "CopyLines": "copy_lines",
    "LoadLines": "load_lines",
}
"""The modules of the classes that write rows of sources as records, and records as lines."""


@cache
def built(name: str) -> ModuleType | None:
    """Return a module of the twin if it is built of the sources that are here; None: the generated functions do its
    work.
    """
    try:
        module = import_module(f"schemas.twin.{name}")
    except Exception as error:  # noqa: BLE001 - modules that were built at different times do not find each other's functions
        if isinstance(error, ImportError) and error.name is not None:
            # Unbuilt it needs Cython, which only developers have.
            return None
        module = None
    if module is not None and not module.COMPILED:
        return None
    # It calls others, and one that could not be built again is still what it was.
    loaded = (sys.modules.get(f"schemas.twin.{part}") for part in MODULES)
    parts = [module, *(part for part in loaded if part is not None)]
    if any(getattr(part, "SOURCES", None) != sources_digest() for part in parts):
        warnings.warn(
            f"schemas.twin.{name} was built of other sources than those beside it and is not used:"
            " install Tailrace again (in a checkout: `make venv`)",
            stacklevel=2,
        )
        return None
    return module


@cache
def sources_digest() -> str:
    """Return a digest of the twin's sources, which extensions carry that are built of them."""
    digest = sha256()
    for path in sorted(Path(__file__).parent.glob("*.p*")):
        if path.suffix in {".py", ".pxd"} and path.stem != "__init__":
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
