"""DECIMAL in the log: groups of nine digits in four bytes, to one unscaled integer.

Form: `decimal2bin` in `decimal.cc`. The first bit is one for a number that is not negative; all bytes of a negative
one are complemented.
"""

from __future__ import annotations

from collections.abc import Callable

_BYTES = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)
"""Bytes of so many digits."""


def decimal_bytes(precision: int, scale: int) -> int:
    """Return the length of a DECIMAL(precision, scale)."""
    return sum(size for size, _ in _groups(precision, scale))


def decimal_reader(precision: int, scale: int) -> Callable[[bytes], int]:
    """Return the reader of a DECIMAL(precision, scale): its unscaled integer."""
    groups = _groups(precision, scale)
    bits = 8 * decimal_bytes(precision, scale)
    mask, sign = (1 << bits) - 1, 1 << (bits - 1)
    pieces: list[tuple[int, int, int]] = []
    shift, weight = 0, 1
    for size, digits in reversed(groups):
        pieces.append((shift, (1 << 8 * size) - 1, weight))
        shift += 8 * size
        weight *= 10**digits

    def read(x: bytes) -> int:
        n = int.from_bytes(x, "big")
        negative = not n & sign
        if negative:
            n ^= mask
        n ^= sign
        total = 0
        for shift, mask_, weight in pieces:
            total += (n >> shift & mask_) * weight
        return -total if negative else total

    return read


def _groups(precision: int, scale: int) -> list[tuple[int, int]]:
    """Return size and digits of each group, the most significant first."""
    whole = precision - scale
    groups = []
    if whole % 9:
        groups.append((_BYTES[whole % 9], whole % 9))
    groups += [(4, 9)] * (whole // 9)
    groups += [(4, 9)] * (scale // 9)
    if scale % 9:
        groups.append((_BYTES[scale % 9], scale % 9))
    return groups
