"""What is done to values of rows before any rule sees them: characters that become others, and large values cut off.

As DMS does it: characters in all texts ("Character substitution task settings"), cutting in columns of large objects
("Setting LOB support", limited mode), which are texts and bytes without a length that are not of the key. The
functions are made for each version of a table; a table without such columns has none, and costs nothing.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, field_validator

from schemas.changes import UNCHANGED, Row
from schemas.section import Section
from schemas.table import Column, TableSchema
from schemas.types import Family

CodePoint = Annotated[str, Field(pattern=r"^[0-9A-Fa-f]{1,6}$")]
Rows = Callable[[Sequence[Row]], list[Row]]
Step = Callable[[Any], Any]

_UTF_16 = ("utf16", "ucs2", "utf-16", "ucs-2")


class ValueSettings(Section):
    """What is done to values on their way to the targets, before any rule. The topics hold them as they were."""

    lob_max_kb: Annotated[int, Field(ge=1, le=1 << 21)] | None = None
    """Cut texts and bytes without a length off at so many KB, outside of keys: counted, and warned of. Left out: none
    is cut off."""
    characters: dict[CodePoint, CodePoint] = Field(default={})
    """Characters of texts that become others, by their code points in hexadecimal digits; `0` takes one out."""
    character_set: str | None = None
    """Character set that all characters of texts must be of, by the name that Python or DMS has for it. `UTF16_…` has
    characters of two bytes only."""
    character_replacement: CodePoint = "0"
    """What characters become that are not of it; `0` takes them out."""

    @field_validator("character_set")
    @classmethod
    def _is_known(cls, name: str | None) -> str | None:
        if name is not None:
            _may_stand(name)
        return name

    @property
    def any(self) -> bool:
        """Whether anything is done at all."""
        return self.lob_max_kb is not None or bool(self.characters) or self.character_set is not None


def row_function(settings: ValueSettings, table: TableSchema, cut: Callable[[str], None]) -> Rows | None:
    """Return what is done to rows of a table; None: nothing. `cut` is told the column of each value that is cut off."""
    return _function([_step(settings, column, i in table.key, cut) for i, column in enumerate(table.columns)])


def key_function(settings: ValueSettings, table: TableSchema) -> Rows | None:
    """Return what is done to keys of a table, in key order; None: nothing."""
    return _function([_step(settings, table.columns[i], True, lambda _name: None) for i in table.key])


def _function(steps: list[Step | None]) -> Rows | None:
    doing = [(place, step) for place, step in enumerate(steps) if step is not None]
    if not doing:
        return None

    def change(rows: Sequence[Row]) -> list[Row]:
        changed = []
        for row in rows:
            values = list(row)
            for place, step in doing:
                value = values[place]
                if value is not None and value is not UNCHANGED:
                    values[place] = step(value)
            changed.append(tuple(values))
        return changed

    return change


def _step(settings: ValueSettings, column: Column, is_key: bool, cut: Callable[[str], None]) -> Step | None:
    steps: list[Step] = []
    family = column.type.family
    if family is Family.STRING and (settings.characters or settings.character_set):
        steps.append(_substitute(settings))
    if settings.lob_max_kb is not None and not is_key and column.type.length is None:
        size = settings.lob_max_kb << 10
        if family is Family.BYTES:
            steps.append(lambda value: _cut_bytes(value, size, column.name, cut))
        elif family is Family.STRING:
            steps.append(lambda value: _cut_text(value, size, column.name, cut))
    if not steps:
        return None
    first, *more = steps
    return (lambda value: more[0](first(value))) if more else first


def _substitute(settings: ValueSettings) -> Step:
    table = {int(old, 16): int(new, 16) or None for old, new in settings.characters.items()}
    if settings.character_set is None:
        return lambda value: value.translate(table)
    may_stand = _may_stand(settings.character_set)
    point = int(settings.character_replacement, 16)
    other = chr(point) if point else ""

    def substitute(value: str) -> str:
        text = value.translate(table)
        return text if may_stand(text) else "".join(c if may_stand(c) else other for c in text)

    return substitute


def _may_stand(name: str) -> Callable[[str], bool]:
    """Return what tells whether all of a text is of a character set. Raises ValueError for one that nobody knows."""
    if name.lower().startswith(_UTF_16):
        return lambda text: not text or max(text) <= "\uffff"
    spelling = name.lower().removesuffix("_platformendian").removesuffix("_oppositeendian").replace("ibm-", "cp")
    try:
        encode = codecs.lookup(spelling).encode
    except LookupError:
        raise ValueError("nobody here knows this character set; Python's names are known") from None

    def may_stand(text: str) -> bool:
        try:
            encode(text)
        except UnicodeError:
            return False
        return True

    return may_stand


def _cut_bytes(value: bytes, size: int, name: str, cut: Callable[[str], None]) -> bytes:
    if len(value) <= size:
        return value
    cut(name)
    return value[:size]


def _cut_text(value: str, size: int, name: str, cut: Callable[[str], None]) -> str:
    # A character takes four bytes at most.
    if len(value) * 4 <= size:
        return value
    encoded = value.encode()
    if len(encoded) <= size:
        return value
    cut(name)
    return encoded[:size].decode(errors="ignore")


def points(characters: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return DMS's list of replacements, whose numbers are hexadecimal digits; the last one of several counts."""
    return {str(pair["SourceCharacterCodePoint"]): str(pair.get("TargetCharacterCodePoint", 0)) for pair in characters}
