"""How much of what a table may have its columns take: bytes of a row, bytes of an index, and how many there may be.

The server's own limit on a row counts all but texts and blobs ("Limits on Table Column Count and Row Size"). InnoDB's
is half a page, and long columns count with what stays in the row: in MySQL 40 bytes of whatever is longer, in MariaDB a
pointer of 20 bytes in the place of what may be of 256 and more, and all of what is shorter.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

CHARACTER_BYTES = 4
ROW_BYTES_MAX = 65_535
_STAGE_COLUMNS = ("bigint", "bigint")
"""What a staging table has besides those of the table."""
COLUMNS_MAX = 1017 - len(_STAGE_COLUMNS)
"""Of a table that is staged: InnoDB takes 1,017."""
INDEX_BYTES_MAX = 3072
"""Of InnoDB's index entries in its usual row format."""
INDEXES_MAX = 64
"""Of a table, the primary key among them."""

LONGEST_BYTES = (1 << 32) - 1
"""Of a value: more than any index holds."""
PAGE_ROW_BYTES_MAX = 8125
"""Of InnoDB: two rows are to fit into a page of 16 KiB."""
_ROW_HEAD_BYTES = 5 + 6 + 7
_INLINE_BYTES = 40
_POINTER_BYTES = 20
_OUTSIDE_BYTES_MIN = 256
"""In MariaDB: from so many possible bytes on a value may stand outside of the row."""

_WHOLE = {"tinyint": 1, "smallint": 2, "mediumint": 3, "int": 4, "bigint": 8}
_FIXED = {**_WHOLE, "float": 4, "double": 8, "date": 3, "year": 1, "uuid": 16, "inet6": 16, "inet4": 4}
_TEMPORAL = {"time": 3, "timestamp": 4, "datetime": 5}
_DECIMAL_BYTES = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)
"""Of so many digits of a decimal beyond groups of nine."""
_BLOB = re.compile(r"(tiny|medium|long|)(text|blob)\b|(json|vector|geom\w*|\w*point|\w*linestring|\w*polygon)\b")
_POINTER_TO = {"tiny": 9, "": 10, "medium": 11, "long": 12}
_LABEL = re.compile(r"'(?:[^']|'')*'")
_SIZED = re.compile(r"(\w+)(?:\((.*)\))?", re.DOTALL)


def key_parts_max(*, is_mariadb: bool) -> int:
    """Return how many columns an index may have."""
    return 32 if is_mariadb else 16


def is_blob(native: str) -> bool:
    """Tell whether values of a type stand outside of the row, as texts and blobs do."""
    return _BLOB.match(native) is not None


def value_bytes(native: str) -> int:
    """Return how many bytes a value of a type takes at most, without its length."""
    if is_blob(native):
        return LONGEST_BYTES
    base, inside = _SIZED.match(native).groups()  # type: ignore[union-attr]
    if base in _FIXED:
        return _FIXED[base]
    if base in _TEMPORAL:
        return _TEMPORAL[base] + (int(inside or 0) + 1) // 2
    if base in ("char", "varchar"):
        return CHARACTER_BYTES * int(inside or 1)
    if base in ("binary", "varbinary"):
        return int(inside or 1)
    if base == "bit":
        return (int(inside or 1) + 7) // 8
    if base == "decimal":
        digits, _, scale = (inside or "10").partition(",")
        return _decimal_bytes(int(digits) - int(scale or 0)) + _decimal_bytes(int(scale or 0))
    labels = len(_LABEL.findall(inside or ""))
    if base == "enum":
        return 1 if labels < 256 else 2
    return next(size for size in (1, 2, 3, 4, 8) if labels <= 8 * size)


def _decimal_bytes(digits: int) -> int:
    return digits // 9 * 4 + _DECIMAL_BYTES[digits % 9]


def taken(native: str, *, is_mariadb: bool) -> tuple[int, int]:
    """Return how much of a row a column takes: as the server counts, and as InnoDB does."""
    return _row_bytes(native), _page_bytes(native, is_mariadb=is_mariadb)


def room(natives: Sequence[str], *, is_mariadb: bool) -> list[int]:
    """Return how much of a staged row such columns leave, as the server counts and as InnoDB does; less than 0: they do
    not fit. It is the longer one: each column may be null there.
    """
    bits = (len(natives) + 7) // 8
    columns = (taken(native, is_mariadb=is_mariadb) for native in (*_STAGE_COLUMNS, *natives))
    rows, pages = zip((bits, _ROW_HEAD_BYTES + bits), *columns, strict=True)
    return [ROW_BYTES_MAX - sum(rows), PAGE_ROW_BYTES_MAX - sum(pages)]


class Excess(NamedTuple):
    """What of a table is more than the server takes."""

    said: str
    of_rows: bool = False
    """Whether a server that is not strict (`innodb_strict_mode`) makes the table, and refuses rows that are long."""


def excesses(natives: Sequence[str], key: Sequence[str], *, is_mariadb: bool) -> list[Excess]:
    """Say what of a table's columns, and of its key's among them, is more than the server takes."""
    found = []
    if len(natives) > COLUMNS_MAX:
        found.append(f"the table has {len(natives)} columns, and the target takes {COLUMNS_MAX}")
    if len(key) > (parts_max := key_parts_max(is_mariadb=is_mariadb)):
        found.append(f"the key has {len(key)} columns, and an index of the target {parts_max}")
    if (size := sum(map(value_bytes, key))) > INDEX_BYTES_MAX:
        found.append(f"the key takes up to {size} bytes, and an index of the target holds {INDEX_BYTES_MAX}")
    row_left, page_left = room(natives, is_mariadb=is_mariadb)
    if row_left < 0:
        size = ROW_BYTES_MAX - row_left
        found.append(f"a row takes up to {size} bytes besides texts and blobs, and the target holds {ROW_BYTES_MAX}")
    said = [Excess(text) for text in found]
    if page_left < 0:
        size, kept = PAGE_ROW_BYTES_MAX - page_left, _POINTER_BYTES if is_mariadb else _INLINE_BYTES
        room_said = f"and the target has room for {PAGE_ROW_BYTES_MAX}"
        said.append(
            Excess(f"a row takes up to {size} bytes of its page, {kept} for each long value, {room_said}", True)
        )
    return said


def _row_bytes(native: str) -> int:
    if found := _BLOB.match(native):
        return _POINTER_TO[found[1] or ""] if found[2] else _POINTER_TO["long"]
    size = value_bytes(native)
    return size + (1 if size < _OUTSIDE_BYTES_MIN else 2) if native.startswith("var") else size


def _page_bytes(native: str, *, is_mariadb: bool) -> int:
    if is_blob(native):
        return 1 + (_POINTER_BYTES if is_mariadb else _INLINE_BYTES)
    size = value_bytes(native)
    if not native.startswith(("var", "char")):
        return size
    if is_mariadb:
        return 1 + (_POINTER_BYTES if size >= _OUTSIDE_BYTES_MIN else size)
    return 1 + min(size, _INLINE_BYTES)
