"""Which extension counts as built: one of the very sources that stand beside it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

import schemas.twin
from schemas.codecs.generate import compile_function
from schemas.twin import MODULES, built, sources_digest


def _module(*, compiled: bool, sources: str) -> ModuleType:
    module = ModuleType("schemas.twin.made_up")
    module.COMPILED, module.SOURCES = compiled, sources  # type: ignore[attr-defined]
    return module


def test_only_an_extension_of_these_sources_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    look = built.__wrapped__
    # Other tests may have loaded the modules unbuilt.
    for name in MODULES:
        monkeypatch.delitem(sys.modules, f"schemas.twin.{name}", raising=False)
    assert look("made_up") is None
    fit = _module(compiled=True, sources=sources_digest())
    monkeypatch.setitem(sys.modules, fit.__name__, fit)
    assert look("made_up") is fit
    monkeypatch.setitem(sys.modules, fit.__name__, _module(compiled=False, sources=""))
    assert look("made_up") is None
    monkeypatch.setitem(sys.modules, fit.__name__, _module(compiled=True, sources="of yesterday"))
    with pytest.warns(UserWarning, match="was built of other sources"):
        assert look("made_up") is None


def test_an_extension_whose_parts_were_built_of_other_sources_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    look = built.__wrapped__
    fit = _module(compiled=True, sources=sources_digest())
    monkeypatch.setitem(sys.modules, fit.__name__, fit)
    for name in MODULES:
        monkeypatch.setitem(sys.modules, f"schemas.twin.{name}", _module(compiled=True, sources=sources_digest()))
    assert look("made_up") is fit
    monkeypatch.setitem(sys.modules, "schemas.twin.values", _module(compiled=True, sources="of yesterday"))
    with pytest.warns(UserWarning, match="was built of other sources"):
        assert look("made_up") is None


def test_an_extension_that_misses_a_function_of_another_is_said_to_be_stale(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(schemas.twin, "__path__", [*schemas.twin.__path__, str(tmp_path)])
    # So says Cython; Python names the module that is not there.
    (tmp_path / "made_up.py").write_text("raise ImportError('schemas.twin.values does not export expected C function')")
    with pytest.warns(UserWarning, match="was built of other sources"):
        assert built.__wrapped__("made_up") is None
    (tmp_path / "made_up.py").write_text("import not_there")
    assert built.__wrapped__("made_up") is None


def test_what_is_called_for_each_value_is_the_function_itself() -> None:
    function = compile_function("def call(v):\n    return v + more", "value", {"more": 1})
    assert (function.__name__, function(1)) == ("call", 2)
