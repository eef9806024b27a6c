"""Avro's variable-length integers, by table: the lower 14 bits of a number cost one look-up, not a loop.

Avro 1.12 specification, "Binary encoding": int and long are written zig-zag, seven bits a byte, low bits first; a high
bit says that another byte follows.
"""

from __future__ import annotations

from typing import Any

INT64_MIN = -(1 << 63)
INT64_MAX = (1 << 63) - 1


def unsigned(n: int) -> bytes:
    """Return the varint of a number that is not negative."""
    if n < 1 << 14:
        return FINAL[n]
    parts = []
    while n >= 1 << 14:
        parts.append(CONTINUED[n & 16383])
        n >>= 14
    return b"".join((*parts, FINAL[n]))


def zigzag(n: int) -> int:
    """Return the zig-zag form of a signed 64-bit number."""
    return n << 1 if n >= 0 else ~(n << 1)


def long(n: int) -> bytes:
    """Return the Avro form of a long. Raises OverflowError beyond 64 bits."""
    if not INT64_MIN <= n <= INT64_MAX:
        raise OverflowError
    return unsigned(zigzag(n))


_LOW, _HIGH = ([bytes((i | bit,)) for i in range(128)] for bit in (0, 128))

CONTINUED: list[bytes] = [first + second for second in _HIGH for first in _HIGH]
"""Fourteen bits that other bits follow."""

FINAL: list[bytes] = [*_LOW, *(first + second for second in _LOW[1:] for first in _HIGH)]
"""The last one or two bytes of a varint."""

LOW2: list[bytes] = [b"\2" + entry for entry in CONTINUED[::2]]
"""The low 13 bits of a positive number, whose zig-zag form is its double, behind a nullable column's union byte."""

SMALL2: list[bytes] = [b"\2" + entry for entry in (*FINAL[::2], *FINAL[:0:-2])]
"""The longs from -8192 (by negative index) to 8191 behind a union byte; also the lengths of up to 8191 bytes."""

_SIGNED = [0] * (1 << 14)
_SIGNED[::2], _SIGNED[1::2] = range(1 << 13), range(-1, -(1 << 13) - 1, -1)

SIGNED: list[int] = _SIGNED[:128]
"""From zig-zag to number, for varints of one byte."""

SIGNED_WIDE: list[int] = [0] * 128 + _SIGNED * 2
"""The same for two bytes `x` and `y`, by `x + (y << 7)`, whether or not `y` says that more follow."""

_LENGTHS: list[int | None] = [None] * (1 << 14)
_LENGTHS[::2] = range(1 << 13)

LENGTH: list[int | None] = _LENGTHS[:128]
"""From zig-zag to length, for one byte. A negative length is None, which nothing can be added to."""

LENGTH_WIDE: list[int | None] = [*[None] * 128, *_LENGTHS]
"""The same for two bytes."""

HIGH_CACHE_MAX = 16_384
"""Entries. Numbers that are near each other share their high bits, so that few are enough."""

high_written: dict[int, bytes] = {}
"""The varint of the bits of a long from bit 27 on: the ends of timestamps."""

high_read: dict[int, int] = {}
"""The bytes 5 to 8 of an eight-byte varint of a positive number, as a little-endian number, to their part of it."""

FIRST_PAIR: list[int | None] = [None] * 65536
"""The first two bytes of a longer varint, as a little-endian number, to their part of a positive number. Else None."""

SECOND_PAIR: list[int | None] = [None] * 65536
"""The same for the next two bytes."""

for _high in range(128):
    _pair = _high << 8 | 0x8080
    FIRST_PAIR[_pair : _pair + 128 : 2] = range(_high << 6, _high + 1 << 6)
    SECOND_PAIR[_pair : _pair + 128] = range(_high << 20, _high + 1 << 20, 1 << 13)


def long2(n: int) -> bytes:
    """Return a long behind a union byte."""
    return b"\2" + long(n)


def int2(n: int) -> bytes:
    """Return a 32-bit int behind a union byte. Raises OverflowError beyond."""
    if not -(1 << 31) <= n < 1 << 31:
        raise OverflowError
    return b"\2" + unsigned(zigzag(n))


def short2(n: int) -> bytes:
    """Return a 16-bit int behind a union byte. Raises OverflowError beyond."""
    if not -(1 << 15) <= n < 1 << 15:
        raise OverflowError
    return b"\2" + unsigned(zigzag(n))


def high_of(n: int) -> bytes:
    """Return, and remember, the varint of `n`, the bits of a positive long from bit 27 on."""
    if not 0 < n < 1 << 36:
        raise OverflowError
    if len(high_written) >= HIGH_CACHE_MAX:
        high_written.clear()
    found = high_written[n] = unsigned(n)
    return found


def long_at(b: bytes, p: int) -> tuple[int, int]:
    """Read a long at `p`: the number and where it ends. Raises ValueError or IndexError."""
    start = p
    n = shift = 0
    while True:
        x = b[p]
        p += 1
        n |= (x & 127) << shift
        if x < 128:
            break
        shift += 7
        if shift > 63:
            raise ValueError
    if n >> 64:
        raise ValueError
    if p - start == 8:
        if len(high_read) >= HIGH_CACHE_MAX:
            high_read.clear()
        high_read[int.from_bytes(b[start + 4 : p], "little")] = n >> 28 << 27
    return n >> 1 ^ -(n & 1), p


def int_at(b: bytes, p: int) -> tuple[int, int]:
    """Read a 32-bit int."""
    n, p = long_at(b, p)
    if not -(1 << 31) <= n < 1 << 31:
        raise ValueError
    return n, p


def short_at(b: bytes, p: int) -> tuple[int, int]:
    """Read a 16-bit int."""
    n, p = long_at(b, p)
    if not -(1 << 15) <= n < 1 << 15:
        raise ValueError
    return n, p


def bytes_at(b: bytes, p: int) -> tuple[int, int]:
    """Read a length at `p`: where the bytes begin and end."""
    n, p = long_at(b, p)
    if not 0 <= n <= len(b) - p:
        raise ValueError
    return p, p + n


def write_integer(v: str, o: str, long_form: str) -> list[str]:
    """Return the fragment that writes an integer."""
    return [
        f"if -8192 <= {v} < 8192: {o} = SMALL2[{v}]",
        f"elif 0 < {v} < 134217728: {o} = LOW2[{v} & 8191] + FINAL[{v} >> 13]",
        f"else: {o} = {long_form}({v})",
    ]


def read_integer(v: str, at: int, long_form: str, inline: int = 3) -> list[str]:
    """Return the fragment that reads an integer: `inline` bytes without a call."""
    lines = [
        f"x = b[p + {at}]",
        f"if x < 128: {v} = SIGNED[x]; p += {at + 1}",
        "else:",
        f"    y = b[p + {at + 1}]",
        f"    if y < 128: {v} = SIGNED_WIDE[x + (y << 7)]; p += {at + 2}",
    ]
    if inline == 3:
        lines += [
            "    else:",
            f"        w = b[p + {at + 2}]",
            "        if w < 128:",
            f"            {v} = SIGNED_WIDE[x + (y << 7)]; p += {at + 3}",
            f"            if x & 1: {v} -= w << 13",
            f"            else: {v} += w << 13",
            f"        else: {v}, p = {long_form}(b, p + {at})",
        ]
    else:
        lines.append(f"    else: {v}, p = {long_form}(b, p + {at})")
    return lines


def read_length(at: int) -> list[str]:
    """Return the fragment that reads a length: afterwards the bytes are `b[p:e]`.

    `e` may be beyond the buffer. Then the next read fails: something always follows a row.
    """
    return [
        f"x = b[p + {at}]",
        f"if x < 128: p += {at + 1}; e = p + LENGTH[x]",
        "else:",
        f"    y = b[p + {at + 1}]",
        f"    if y < 128: p += {at + 2}; e = p + LENGTH_WIDE[x + (y << 7)]",
        f"    else: p, e = bytes_at(b, p + {at})",
    ]


NAMES: dict[str, Any] = {
    "SMALL2": SMALL2,
    "CONTINUED": CONTINUED,
    "LOW2": LOW2,
    "FINAL": FINAL,
    "SIGNED": SIGNED,
    "SIGNED_WIDE": SIGNED_WIDE,
    "LENGTH": LENGTH,
    "LENGTH_WIDE": LENGTH_WIDE,
    "FIRST_PAIR": FIRST_PAIR,
    "SECOND_PAIR": SECOND_PAIR,
    "high_written": high_written,
    "high_read": high_read,
    "high_of": high_of,
    "long2": long2,
    "int2": int2,
    "short2": short2,
    "long_at": long_at,
    "int_at": int_at,
    "short_at": short_at,
    "bytes_at": bytes_at,
}
