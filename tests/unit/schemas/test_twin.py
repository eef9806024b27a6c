"""Which extension counts as built: one of the very sources that stand beside it."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from schemas.twin import built, sources_digest


def _module(*, compiled: bool, sources: str) -> ModuleType:
    module = ModuleType("schemas.twin.made_up")
    module.COMPILED, module.SOURCES = compiled, sources  # type: ignore[attr-defined]
    return module


def test_only_an_extension_of_these_sources_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    look = built.__wrapped__
    assert look("made_up") is None
    fit = _module(compiled=True, sources=sources_digest())
    monkeypatch.setitem(sys.modules, fit.__name__, fit)
    assert look("made_up") is fit
    monkeypatch.setitem(sys.modules, fit.__name__, _module(compiled=False, sources=""))
    assert look("made_up") is None
    monkeypatch.setitem(sys.modules, fit.__name__, _module(compiled=True, sources="of yesterday"))
    with pytest.warns(UserWarning, match="was built of other sources"):
        assert look("made_up") is None
