"""The compiled twin as what it also is, Python modules: what is built is held against what runs without a compiler."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import schemas.twin

Find = Callable[[str], ModuleType | None]


def unbuilt(name: str) -> ModuleType:
    """Return a module of the twin as Python runs it, whether or not it is built."""
    saved = {title: sys.modules.pop(title, None) for title in map(_title, schemas.twin.MODULES)}
    try:
        for module_name in schemas.twin.MODULES:
            path = Path(schemas.twin.__file__).parent / f"{module_name}.py"
            spec = spec_from_file_location(_title(module_name), path)
            assert spec is not None
            assert spec.loader is not None
            module = sys.modules[_title(module_name)] = module_from_spec(spec)
            spec.loader.exec_module(module)
        return sys.modules[_title(name)]
    finally:
        for title, found in saved.items():
            sys.modules.pop(title, None)
            if found is not None:
                sys.modules[title] = found


def _title(name: str) -> str:
    return f"schemas.twin.{name}"
