"""Errors that a test expects, with what they say."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from schemas.errors import ErrorKind, TailraceError


@contextlib.contextmanager
def refused(kind: ErrorKind, *words: str) -> Iterator[None]:
    """Expect an error of a kind whose text, remedy included, holds all these words, and no secret."""
    with pytest.raises(TailraceError) as caught:
        yield
    assert caught.value.kind is kind, caught.value
    assert all(word in str(caught.value) for word in words), caught.value
    assert "wrong-password" not in str(caught.value)
