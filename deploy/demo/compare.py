"""The demo's own comparison of source and target: every row, every column, read by each side's own driver.

It shares nothing with `tailrace verify`. Between servers of one engine rows are compared by the text that the server
prints of them. Between engines values are made alike first: by `alike` and nothing else.
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from hashlib import blake2b
from itertools import zip_longest
from typing import Any

from deploy.demo.engines import Client, Column

SHOWN_MAX = 5
TOLD_ROWS = 1000
"""After so many rows it is told how far a comparison is."""


@dataclass(slots=True)
class TableDifference:
    """What the comparison of one table found."""

    table: str
    source_rows: int = 0
    target_rows: int = 0
    only_source: int = 0
    """Rows of the source that the target lacks, or has with another value in some column."""
    only_target: int = 0
    shown: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Whether each row is there as often on one side as on the other."""
        return not (self.only_source or self.only_target)


def compare(
    source: Client, target: Client, table: str, *, same_engine: bool, tell: Callable[[int], object]
) -> TableDifference:
    """Compare one table; memory holds a short digest of each row that has not yet been met on both sides.

    `tell` is called with how many rows were read since it was called last.
    """
    columns = source.columns(table)
    result = TableDifference(table)
    left: Counter[bytes] = Counter()
    sides = [_images(side, table, columns, same_engine=same_engine) for side in (source, target)]
    read = 0
    for read, (a, b) in enumerate(zip_longest(*sides), 1):
        if not read % TOLD_ROWS:
            tell(TOLD_ROWS)
        for image, count in ((a, 1), (b, -1)):
            if image is not None:
                result.source_rows += count > 0
                result.target_rows += count < 0
                digest = blake2b(image, digest_size=16).digest()
                left[digest] += count
                if not left[digest]:
                    del left[digest]
    tell(read % TOLD_ROWS)
    result.only_source = sum(count for count in left.values() if count > 0)
    result.only_target = -sum(count for count in left.values() if count < 0)
    if left:
        result.shown = [
            f"{name}: {image.decode(errors='replace')[:200]}"
            for name, side, sign in (("source only", source, 1), ("target only", target, -1))
            for image in _picked(_images(side, table, columns, same_engine=same_engine), left, sign)
        ]
    return result


def alike(value: Any, kind: str) -> str | None:
    """Return the text by which a value is compared between engines. None is null."""
    if value is None:
        return None
    if kind == "json":
        document = json.loads(value) if isinstance(value, str) else value
        return json.dumps(document, sort_keys=True)
    if kind == "real":
        return struct.pack(">f", value).hex()
    if kind == "span":
        return str(value // timedelta(microseconds=1) if isinstance(value, timedelta) else value)
    if kind == "zoned":
        # `+02` is `+02:00`.
        return str(value) if str(value)[-3] == ":" else f"{value}:00"
    if kind == "char":
        return str(value).rstrip(" ")
    return _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, bool | int | Decimal):
        text = f"{Decimal(value):f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    if isinstance(value, timedelta):
        return str(value // timedelta(microseconds=1))
    if isinstance(value, time):
        seconds = (value.hour * 60 + value.minute) * 60 + value.second
        return _plain(timedelta(seconds=seconds, microseconds=value.microsecond))
    if isinstance(value, datetime):
        return (value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value).isoformat(
            timespec="microseconds"
        )
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    # The set that an engine returns of a `set`; its text elsewhere.
    return ",".join(sorted(value)) if isinstance(value, set | frozenset) else str(value)


def _images(side: Client, table: str, columns: Sequence[Column], *, same_engine: bool) -> Iterator[bytes]:
    if same_engine:
        return side.images(table, columns)
    kinds = [column.kind for column in columns]
    return (
        json.dumps([alike(value, kind) for value, kind in zip(row, kinds, strict=True)], ensure_ascii=False).encode()
        for row in side.values(table, columns)
    )


def _picked(images: Iterator[bytes], wanted: Counter[bytes], sign: int) -> list[bytes]:
    found: list[bytes] = []
    for image in images:
        if wanted[blake2b(image, digest_size=16).digest()] * sign > 0:
            found.append(image)
            if len(found) == SHOWN_MAX:
                break
    return found
