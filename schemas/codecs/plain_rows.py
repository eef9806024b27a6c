"""Rows as objects of plain values, by functions that are generated for each version of each table.

What documents, files and streams are made of: a member for each column, by name, in the plain form of its value
(`schemas.types.plain`). One expression makes the whole object: no loop over columns, no call for a value that stays
what it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from schemas.changes import UNCHANGED, Row
from schemas.codecs.generate import compile_functions, names
from schemas.twin import built, kinds
from schemas.types.logical import LogicalType
from schemas.types.plain import Form, is_plain, plain

Fields = Callable[[Row], dict[str, Any]]
"""From a row to its members; one that is UNCHANGED is left out, and None stays None."""


_WRITTEN = frozenset({kinds.DATE, kinds.TIME, kinds.TIMESTAMP, kinds.ZONED, kinds.DECIMAL})
"""Kinds whose plain texts the twin writes."""


def plain_fields(
    columns: Sequence[tuple[str, LogicalType]], find: Callable[[str], ModuleType | None] = built
) -> Fields:
    """Return what makes an object of a row that has these columns, in this order: by the compiled twin, if it is built
    (`find` stands for what finds it in tests).
    """
    module = find("plain")
    if module is None:
        return fields_maker([(name, None if is_plain(type_) else plain(type_)) for name, type_ in columns])
    made: Fields = module.PlainObjects(plan(columns, [plain(type_) for _, type_ in columns])).fields
    return made


def plan(columns: Sequence[tuple[str, LogicalType]], forms: Sequence[Form]) -> dict[str, Any]:
    """Return what the compiled twin must know of columns; `forms` make plain what it does not."""
    found = [_kind_of(type_) for _, type_ in columns]
    return {
        "names": [name for name, _ in columns],
        "forms": list(forms),
        "kinds": bytes(found),
        "scales": bytes(
            (type_.scale or 0) if kind == kinds.DECIMAL else 0 for (_, type_), kind in zip(columns, found, strict=True)
        ),
        "unchanged": UNCHANGED,
    }


def fields_maker(columns: Sequence[tuple[str, Form | None]]) -> Fields:
    """The same for values in other forms; None: as they are."""
    if not columns:
        return lambda _: {}
    members = [(name, form or _same) for name, form in columns]

    def some(row: Row) -> dict[str, Any]:
        return {
            name: None if value is None else form(value)
            for (name, form), value in zip(members, row, strict=True)
            if value is not UNCHANGED
        }

    whole = ", ".join(
        f"{name!r}: v{i}" if form is None else f"{name!r}: None if v{i} is None else f{i}(v{i})"
        for i, (name, form) in enumerate(columns)
    )
    text = "\n".join(
        [
            "def fields(row):",
            f"    ({names('v', len(columns))}) = row",
            f"    if {' or '.join(f'v{i} is UNCHANGED' for i in range(len(columns)))}: return some(row)",
            f"    return {{{whole}}}",
            "",
        ]
    )
    used = {f"f{i}": form for i, (_, form) in enumerate(columns) if form is not None}
    extra = {"UNCHANGED": UNCHANGED, "some": some, **used}
    return compile_functions(text, f"fields of {len(columns)} columns", extra)["fields"]  # type: ignore[no-any-return]


def _kind_of(type_: LogicalType) -> int:
    if is_plain(type_):
        return 0
    kind = kinds.kind_of(type_)
    return kind if kind in _WRITTEN else kinds.CALLED


def _same(value: Any) -> Any:
    return value
