"""Printing the binary form of types that travel as text, exactly as their output functions would.

This is what lets a stream stay in binary form although a table has an array or a range. A type that is not here has no
printer; a stream with such a type is in text form. Each function mirrors a pair of `…_send` and `…_out` of the
server, with our session's settings (`connection.SESSION`). Containers are in `container_text.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from struct import Struct

from capture.sources.postgresql import temporals
from capture.sources.postgresql.numerics import read_decimal

Printer = Callable[[bytes], str]

_i2 = Struct(">h").unpack
_i4 = Struct(">i").unpack
_i8 = Struct(">q").unpack
_u4 = Struct(">I").unpack
_u8 = Struct(">Q").unpack
_f4 = Struct(">f").unpack
_f8 = Struct(">d").unpack
_single = Struct(">f")
_tid = Struct(">IH").unpack
_DAY_US = 86_400_000_000
_FLOAT4_DIGITS = 9
_MAPPED = 0xFFFF


def plain(data: bytes) -> str:
    """Print text, whatever its type."""
    return data.decode()


def versioned(data: bytes) -> str:
    """Print text behind a version byte (jsonb, jsonpath, ltree)."""
    return data[1:].decode()


def float_text(value: float, digits: str, fixed_below: int) -> str:
    """Print a float as `double_to_shortest_decimal_buf` does (`d2s.c`): `digits` is any shortest text of it."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    sign, figures, exponent = Decimal(digits).as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, figures)).lstrip("0") or "0"
    stripped = text.rstrip("0") or "0"
    exponent += len(text) - len(stripped)
    minus = "-" if sign else ""
    if stripped == "0":
        return f"{minus}0"
    power = len(stripped) - 1 + exponent
    if -4 <= power < fixed_below:
        return minus + format(Decimal((0, tuple(map(int, stripped)), exponent)), "f")
    fraction = f".{stripped[1:]}" if len(stripped) > 1 else ""
    return f"{minus}{stripped[0]}{fraction}e{'-' if power < 0 else '+'}{abs(power):02d}"


def float8(data: bytes) -> str:
    """Print a double; fixed notation below 1e15."""
    (value,) = _f8(data)
    return float_text(value, repr(value), 15)


def float4(data: bytes) -> str:
    """Print a real: the fewest digits that stand for it; fixed notation below 1e6."""
    (value,) = _f4(data)
    if math.isfinite(value):
        for digits in range(1, _FLOAT4_DIGITS + 1):
            text = f"{value:.{digits - 1}e}"
            try:
                if _single.unpack(_single.pack(float(text)))[0] == value:
                    return float_text(value, text, 6)
            except OverflowError:
                # Rounded up beyond the largest real: more digits are needed.
                continue
    return float_text(value, "0", 6)


def date_text(days: int) -> tuple[str, str]:
    """Print days since 1970: the date, and ` BC` or nothing."""
    year, month, day = temporals.civil_from_days(days)
    if year > 0:
        return f"{year:04d}-{month:02d}-{day:02d}", ""
    return f"{1 - year:04d}-{month:02d}-{day:02d}", " BC"


def date(data: bytes) -> str:
    """Print a date."""
    (days,) = _i4(data)
    if days == temporals.DATE_INFINITY:
        return "infinity"
    if days == temporals.DATE_MINUS_INFINITY:
        return "-infinity"
    return "".join(date_text(days + temporals.EPOCH_DAYS))


def timestamp(data: bytes, zone: str = "") -> str:
    """Print a timestamp."""
    (us,) = _i8(data)
    if us == 2**63 - 1:
        return "infinity"
    if us == -(2**63):
        return "-infinity"
    days, time_us = divmod(us, _DAY_US)
    day, era = date_text(days + temporals.EPOCH_DAYS)
    return f"{day} {temporals.clock_text(time_us)}{zone}{era}"


def timestamptz(data: bytes) -> str:
    """Print a timestamp in UTC."""
    return timestamp(data, "+00")


def timetz(data: bytes) -> str:
    """Print a time with its zone: minutes and seconds of the offset only where there are any."""
    text = temporals.read_timetz(data, 0)
    # `clock+HH:MM[:SS]`: the server leaves out `:00` minutes.
    return text[:-3] if text[-6] in "+-" and text.endswith(":00") else text


def bytea(data: bytes) -> str:
    """Print bytes."""
    return "\\x" + data.hex()


def uuid(data: bytes) -> str:
    """Print a uuid."""
    text = data.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def char(data: bytes) -> str:
    """Print a `"char"`."""
    if data in (b"", b"\0"):
        return ""
    return chr(data[0]) if data[0] < 128 else f"\\{data[0]:03o}"


def money(data: bytes) -> str:
    """Print money in the C locale (`cash_out`): dollars, two digits, commas."""
    (cents,) = _i8(data)
    whole, rest = divmod(abs(cents), 100)
    return f"{'-' if cents < 0 else ''}${whole:,}.{rest:02d}"


def bits(data: bytes) -> str:
    """Print a bit string: its length in bits, then its bits."""
    (count,) = _i4(data[:4])
    return "".join(f"{byte:08b}" for byte in data[4:])[:count]


def inet(data: bytes) -> str:
    """Print an address (`network_send`: family, bits, is cidr, length, address)."""
    family, mask, is_cidr, _ = data[:4]
    address = data[4:]
    is_v4 = family == 2
    text = ".".join(map(str, address)) if is_v4 else _v6(address)
    return f"{text}/{mask}" if is_cidr or mask != (32 if is_v4 else 128) else text


def _v6(address: bytes) -> str:
    words = [int.from_bytes(address[i : i + 2], "big") for i in range(0, 16, 2)]
    best, best_length, i = -1, 1, 0
    while i < 8:
        length = 0
        while i + length < 8 and words[i + length] == 0:
            length += 1
        if length > best_length:
            best, best_length = i, length
        i += length or 1
    # As `inet_net_ntop_ipv6` (`inet_net_ntop.c`): addresses that hold an IPv4 address show it.
    if best == 0 and (best_length == 6 or (best_length == 5 and words[5] == _MAPPED)):
        return ("::" if best_length == 6 else "::ffff:") + ".".join(map(str, address[12:]))
    if best < 0:
        return ":".join(f"{word:x}" for word in words)
    head = ":".join(f"{word:x}" for word in words[:best])
    tail = ":".join(f"{word:x}" for word in words[best + best_length :])
    return f"{head}::{tail}"


def macaddr(data: bytes) -> str:
    """Print a hardware address of six or eight bytes."""
    return ":".join(f"{byte:02x}" for byte in data)


def lsn(data: bytes) -> str:
    """Print an LSN."""
    (value,) = _u8(data)
    return f"{value >> 32:X}/{value & 0xFFFFFFFF:X}"


def snapshot(data: bytes) -> str:
    """Print a transaction snapshot: count, xmin, xmax, ids."""
    (count,) = _i4(data[:4])
    xmin, xmax, *running = Struct(f">{count + 2}q").unpack(data[4:])
    return f"{xmin}:{xmax}:{','.join(map(str, running))}"


def tid(data: bytes) -> str:
    """Print a row's place."""
    block, offset = _tid(data)
    return f"({block},{offset})"


def _floats(data: bytes) -> list[str]:
    return [float8(data[i : i + 8]) for i in range(0, len(data), 8)]


def _points(data: bytes) -> str:
    numbers = _floats(data)
    return ",".join(f"({x},{y})" for x, y in zip(numbers[::2], numbers[1::2], strict=True))


def path(data: bytes) -> str:
    """Print a path: whether it is closed, the count of points, the points."""
    return f"({_points(data[5:])})" if data[0] else f"[{_points(data[5:])}]"


def circle(data: bytes) -> str:
    """Print a circle."""
    x, y, radius = _floats(data)
    return f"<({x},{y}),{radius}>"


def tsvector(data: bytes) -> str:
    """Print lexemes with their positions: two bits of weight, fourteen of position (`tsvectorsend`)."""
    (count,) = _i4(data[:4])
    words = []
    at = 4
    for _ in range(count):
        end = data.index(0, at)
        word = data[at:end].decode().replace("\\", "\\\\").replace("'", "''")
        (positions,) = _i2(data[end + 1 : end + 3])
        at = end + 3 + 2 * positions
        places = Struct(f">{positions}H").unpack(data[end + 3 : at])
        # Weight D is not printed.
        marks = ",".join(f"{place & 0x3FFF}{('', 'C', 'B', 'A')[place >> 14]}" for place in places)
        words.append(f"'{word}'" + (f":{marks}" if marks else ""))
    return " ".join(words)


def hstore(data: bytes) -> str:
    """Print keys and values (`hstore_send`)."""
    (count,) = _i4(data[:4])
    at = 4
    texts: list[str] = []
    for _ in range(2 * count):
        (length,) = _i4(data[at : at + 4])
        at += 4
        if length < 0:
            texts.append("NULL")
            continue
        text = data[at : at + length].decode().replace("\\", "\\\\").replace('"', '\\"')
        texts.append(f'"{text}"')
        at += length
    return ", ".join(f"{key}=>{value}" for key, value in zip(texts[::2], texts[1::2], strict=True))


def number(struct: Callable[[bytes], tuple[int, ...]]) -> Printer:
    """Return the printer of an integer type."""
    return lambda data: str(struct(data)[0])


BY_NAME: dict[str, Printer] = {
    "bool": lambda data: "t" if data == b"\1" else "f",
    "int2": number(_i2),
    "int4": number(_i4),
    "int8": number(_i8),
    "oid": number(_u4),
    "xid": number(_u4),
    "cid": number(_u4),
    "xid8": number(_u8),
    "float4": float4,
    "float8": float8,
    "numeric": lambda data: format(read_decimal(data, 0), "f"),
    **dict.fromkeys(("text", "varchar", "bpchar", "name", "json", "xml", "cstring", "refcursor", "unknown"), plain),
    **dict.fromkeys(("jsonb", "jsonpath"), versioned),
    "char": char,
    "bytea": bytea,
    "date": date,
    "time": lambda data: temporals.clock_text(_i8(data)[0]),
    "timetz": timetz,
    "timestamp": timestamp,
    "timestamptz": timestamptz,
    "interval": lambda data: temporals.read_interval(data, 0),
    "uuid": uuid,
    "money": money,
    "bit": bits,
    "varbit": bits,
    "inet": inet,
    "cidr": inet,
    "macaddr": macaddr,
    "macaddr8": macaddr,
    "pg_lsn": lsn,
    "pg_snapshot": snapshot,
    "txid_snapshot": snapshot,
    "tid": tid,
    "point": _points,
    "box": _points,
    "lseg": lambda data: f"[{_points(data)}]",
    "line": lambda data: "{" + ",".join(_floats(data)) + "}",
    "path": path,
    "polygon": lambda data: f"({_points(data[4:])})",
    "circle": circle,
    "tsvector": tsvector,
}
"""The types of `pg_catalog`. Not `regclass` and its like: they print a name and send a number."""

BY_SEND = {
    "citextsend": plain,
    "textsend": plain,
    "hstore_send": hstore,
    "ltree_send": versioned,
    "lquery_send": versioned,
    "ltxtq_send": versioned,
}
"""Types of extensions, by the send function."""
