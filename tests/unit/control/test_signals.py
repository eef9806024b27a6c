"""Commands that contradict themselves are refused before anything is sent."""

from __future__ import annotations

import re
from typing import cast

import pytest

from control import signals
from schemas.errors import ErrorKind, TailraceError
from schemas.settings import Settings

NOBODY = cast("Settings", None)
"""Whoever were asked for more than the command itself would fail by this."""


@pytest.mark.parametrize(
    ("tables", "lower", "empty", "identifier", "said"),
    [
        (["public.a"], ("1",), True, None, "a key range cannot be emptied"),
        (["public.a", "public.b"], ("1",), False, None, "give one --table"),
        (["public.a", "public.b"], None, False, "once", "give one --table"),
    ],
)
def test_reloads_that_contradict_themselves(
    tables: list[str], lower: tuple[str, ...] | None, empty: bool, identifier: str | None, said: str
) -> None:
    with pytest.raises(TailraceError, match=re.escape(said)) as caught:
        signals.reload(NOBODY, tables, lower, None, empty=empty, identifier=identifier)
    assert caught.value.kind is ErrorKind.CONFIGURATION
