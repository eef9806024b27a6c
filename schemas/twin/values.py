# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Values of PostgreSQL's binary forms, written as Avro and as JSON: straight from bytes to bytes.

What is to be written stands in `m` from `p` to `q`, of the length that `kinds.SIZES` says; it is written to `out` at
`o`, where there must be room: six times the length and 64 bytes. Each function returns where it ended. What is unusual
raises `Odd`.

Wire forms: the `*_send` functions under src/backend/utils/adt; Avro 1.12 specification, "Binary encoding"; RFC 8259.
"""

from __future__ import annotations

import cython

from schemas.twin import kinds
from schemas.twin.odd import Odd

if cython.compiled:
    from cython.cimports.libc.string import memcpy
    from cython.cimports.schemas.twin.words import has_high_bits, plain_end
else:
    from schemas.twin.words import has_high_bits, plain_end

BOOLEAN = cython.declare(cython.int, kinds.BOOLEAN)
INT16 = cython.declare(cython.int, kinds.INT16)
INT32 = cython.declare(cython.int, kinds.INT32)
INT64 = cython.declare(cython.int, kinds.INT64)
UINT32 = cython.declare(cython.int, kinds.UINT32)
FLOAT32 = cython.declare(cython.int, kinds.FLOAT32)
FLOAT64 = cython.declare(cython.int, kinds.FLOAT64)
DATE = cython.declare(cython.int, kinds.DATE)
TIME = cython.declare(cython.int, kinds.TIME)
TIMESTAMP = cython.declare(cython.int, kinds.TIMESTAMP)
ZONED = cython.declare(cython.int, kinds.ZONED)
DECIMAL = cython.declare(cython.int, kinds.DECIMAL)
UUID = cython.declare(cython.int, kinds.UUID)
BYTES = cython.declare(cython.int, kinds.BYTES)
TEXT = cython.declare(cython.int, kinds.TEXT)
VERSIONED = cython.declare(cython.int, kinds.VERSIONED)

# Numbers of more than 31 bits are C's only if they are declared.
WORD = cython.declare(cython.longlong, 1 << 32)
HALF_WORD = cython.declare(cython.longlong, 1 << 31)
LARGE = cython.declare(cython.longlong, 9 * 10**14)
"""Four more digits still fit in 64 bits behind any number below."""
EPOCH_DAYS = cython.declare(cython.longlong, 10_957)
EPOCH_US = cython.declare(cython.longlong, 946_684_800_000_000)
NEAR_MIN_US = cython.declare(cython.longlong, 1 - 2**63)
NEAR_END_US = cython.declare(cython.longlong, 2**63 - 946_684_800_000_000)
"""Between them a timestamp is neither infinite nor beyond 64 bits since 1970."""
ORDINARY_MIN_US = cython.declare(cython.longlong, -62_135_596_800_000_000)
ORDINARY_END_US = cython.declare(cython.longlong, 253_402_300_800_000_000)
DAY_US = cython.declare(cython.longlong, 86_400_000_000)
HOUR_US = cython.declare(cython.longlong, 3_600_000_000)

PAIRS = cython.declare(bytes, b"".join(b"%02d" % n for n in range(100)))
HEX = cython.declare(bytes, b"0123456789abcdef")
BASE64 = cython.declare(bytes, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")

SOURCES = TWIN_SOURCES.decode() if cython.compiled else ""  # noqa: F821 - C's, see the .pxd
"""What it was built of (`schemas.twin.sources_digest`)."""


@cython.cfunc
@cython.exceptval(check=False)
def u32(m: cython.p_const_uchar, p: cython.Py_ssize_t) -> cython.longlong:
    return cython.cast(cython.longlong, m[p]) << 24 | m[p + 1] << 16 | m[p + 2] << 8 | m[p + 3]


@cython.cfunc
@cython.exceptval(check=False)
def _i32(m: cython.p_const_uchar, p: cython.Py_ssize_t) -> cython.longlong:
    n: cython.longlong = u32(m, p)
    return n - WORD if n >= HALF_WORD else n


@cython.cfunc
@cython.exceptval(check=False)
def _i64(m: cython.p_const_uchar, p: cython.Py_ssize_t) -> cython.longlong:
    return _i32(m, p) << 32 | u32(m, p + 4)


@cython.cfunc
@cython.exceptval(check=False)
def copy(
    out: cython.p_uchar, o: cython.Py_ssize_t, m: cython.p_const_uchar, p: cython.Py_ssize_t, n: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    if cython.compiled:
        memcpy(out + o, m + p, n)
    else:
        out[o : o + n] = m[p : p + n]
    return o + n


@cython.cfunc
@cython.exceptval(check=False)
def unsigned(out: cython.p_uchar, o: cython.Py_ssize_t, z: cython.ulonglong) -> cython.Py_ssize_t:
    while z > 127:
        out[o] = (z & 127) | 128
        z >>= 7
        o += 1
    out[o] = z
    return o + 1


@cython.cfunc
@cython.exceptval(check=False)
def varint(out: cython.p_uchar, o: cython.Py_ssize_t, n: cython.longlong) -> cython.Py_ssize_t:
    """Write a long as Avro does."""
    return unsigned(out, o, (n << 1) ^ (n >> 63))


@cython.cfunc
@cython.exceptval(check=False)
def digits(out: cython.p_uchar, o: cython.Py_ssize_t, n: cython.ulonglong, width: cython.int) -> cython.Py_ssize_t:
    """Write a number with leading zeros."""
    pairs: cython.p_const_uchar = PAIRS
    i: cython.Py_ssize_t = o + width
    while i >= o + 2:
        i -= 2
        copy(out, i, pairs, 2 * (n % 100), 2)
        n //= 100
    if i > o:
        out[o] = 48 + n % 10
    return o + width


@cython.cfunc
@cython.exceptval(check=False)
def number(out: cython.p_uchar, o: cython.Py_ssize_t, n: cython.longlong) -> cython.Py_ssize_t:
    """Write a number in decimal."""
    width: cython.int = 1
    rest: cython.ulonglong = n
    if n < 0:
        out[o] = 45
        o += 1
        rest = -n
    left: cython.ulonglong = rest
    while left > 99:
        left //= 100
        width += 2
    return digits(out, o, rest, width + (left > 9))


@cython.cfunc
@cython.exceptval(-1)
def zoned(out: cython.p_uchar, o: cython.Py_ssize_t, us: cython.longlong) -> cython.Py_ssize_t:
    """Write the 27 bytes of an ISO text in UTC; the years before 1 and after 9999 are not usual."""
    if not ORDINARY_MIN_US <= us < ORDINARY_END_US:
        raise Odd
    days: cython.longlong = us // DAY_US
    rest: cython.longlong = us - days * DAY_US
    # As `schemas.types.calendar.civil`.
    days += 719_468
    era: cython.longlong = days // 146_097
    day_of_era: cython.longlong = days - era * 146_097
    year: cython.longlong = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year: cython.longlong = day_of_era - (365 * year + year // 4 - year // 100)
    shifted: cython.longlong = (5 * day_of_year + 2) // 153
    year += era * 400 + (1 if shifted >= 10 else 0)
    o = digits(out, o, year, 4)
    out[o] = 45
    o = digits(out, o + 1, shifted + 3 if shifted < 10 else shifted - 9, 2)
    out[o] = 45
    o = digits(out, o + 1, day_of_year - (153 * shifted + 2) // 5 + 1, 2)
    out[o] = 84
    o = digits(out, o + 1, rest // HOUR_US, 2)
    out[o] = 58
    o = digits(out, o + 1, rest // 60_000_000 % 60, 2)
    out[o] = 58
    o = digits(out, o + 1, rest // 1_000_000 % 60, 2)
    out[o] = 46
    o = digits(out, o + 1, rest % 1_000_000, 6)
    out[o] = 90
    return o + 1


@cython.cfunc
@cython.exceptval(check=False)
def uuid(out: cython.p_uchar, o: cython.Py_ssize_t, m: cython.p_const_uchar, p: cython.Py_ssize_t) -> cython.Py_ssize_t:
    hexadecimal: cython.p_const_uchar = HEX
    i: cython.Py_ssize_t
    for i in range(16):
        if i in (4, 6, 8, 10):
            out[o] = 45
            o += 1
        out[o] = hexadecimal[m[p + i] >> 4]
        out[o + 1] = hexadecimal[m[p + i] & 15]
        o += 2
    return o


@cython.cfunc
@cython.exceptval(check=False)
def base64(
    out: cython.p_uchar, o: cython.Py_ssize_t, m: cython.p_const_uchar, p: cython.Py_ssize_t, q: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    signs: cython.p_const_uchar = BASE64
    bits: cython.uint
    while p < q:
        bits = m[p] << 16
        if p + 1 < q:
            bits |= m[p + 1] << 8
        if p + 2 < q:
            bits |= m[p + 2]
        out[o] = signs[bits >> 18]
        out[o + 1] = signs[bits >> 12 & 63]
        out[o + 2] = signs[bits >> 6 & 63] if p + 1 < q else 61
        out[o + 3] = signs[bits & 63] if p + 2 < q else 61
        o += 4
        p += 3
    return o


@cython.cfunc
@cython.exceptval(-1)
def escaped(
    out: cython.p_uchar, o: cython.Py_ssize_t, m: cython.p_const_uchar, p: cython.Py_ssize_t, q: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    """Write a JSON string as orjson does: with escapes only where there must be one, the short one if there is one.

    Raises UnicodeDecodeError unless it is UTF-8.
    """
    hexadecimal: cython.p_const_uchar = HEX
    c: cython.uchar
    start: cython.Py_ssize_t = p
    end: cython.Py_ssize_t = p
    out[o] = 34
    o += 1
    while p < q:
        if p == end:
            end = plain_end(m, p, q)
            o = copy(out, o, m, p, end - p)
            p = end
            end = min(p + 8, q)
            if p == q:
                break
        c = m[p]
        p += 1
        if c >= 32 and c not in {34, 92}:
            out[o] = c
            o += 1
            continue
        out[o] = 92
        o += 2
        if c >= 32:
            out[o - 1] = c
        elif c == 8:
            out[o - 1] = 98
        elif c == 9:
            out[o - 1] = 116
        elif c == 10:
            out[o - 1] = 110
        elif c == 12:
            out[o - 1] = 102
        elif c == 13:
            out[o - 1] = 114
        else:
            out[o - 1] = 117
            out[o] = 48
            out[o + 1] = 48
            out[o + 2] = hexadecimal[c >> 4]
            out[o + 3] = hexadecimal[c & 15]
            o += 4
    if has_high_bits(m, start, q):
        m[start:q].decode("utf-8")
    out[o] = 34
    return o + 1


@cython.cfunc
@cython.exceptval(check=False)
def two_complement(out: cython.p_uchar, o: cython.Py_ssize_t, n: cython.longlong) -> cython.Py_ssize_t:
    """Write the shortest big-endian two's complement."""
    width: cython.int = 1
    i: cython.int
    left: cython.longlong = n >> 7
    while left not in (0, -1):
        left >>= 8
        width += 1
    for i in range(width):
        out[o + width - 1 - i] = n & 255
        n >>= 8
    return o + width


@cython.cfunc
@cython.exceptval(-9223372036854775807, check=True)
def _numeric(m: cython.p_const_uchar, p: cython.Py_ssize_t, q: cython.Py_ssize_t, scale: cython.int) -> cython.longlong:
    """Read a numeric as an unscaled number of up to 18 digits (`numeric_send`)."""
    if q - p < 8:
        raise Odd
    count: cython.int = m[p] << 8 | m[p + 1]
    weight: cython.int = m[p + 2] << 8 | m[p + 3]
    sign: cython.int = m[p + 4] << 8 | m[p + 5]
    _: cython.int
    n: cython.longlong = 0
    if weight >= 32768:
        weight -= 65536
    exponent: cython.int = 4 * (weight - count + 1) + scale
    if count > 5 or q - p != 8 + 2 * count or sign not in {0, 16384} or exponent < -18 or exponent > 18:
        raise Odd
    p += 8
    for _ in range(count):
        if n >= LARGE:
            raise Odd
        n = n * 10000 + (m[p] << 8 | m[p + 1])
        p += 2
    while exponent > 0:
        if n >= LARGE:
            raise Odd
        n *= 10
        exponent -= 1
    while exponent < 0:
        n //= 10
        exponent += 1
    return -n if sign else n


@cython.cfunc
@cython.exceptval(-9223372036854775807, check=True)
def _fixed(kind: cython.int, m: cython.p_const_uchar, p: cython.Py_ssize_t) -> cython.longlong:
    """Read a value of a fixed length as its canonical number; a float as its bits."""
    n: cython.longlong
    if kind in (INT64, TIME, FLOAT64):
        return _i64(m, p)
    if kind in (INT32, FLOAT32):
        return _i32(m, p)
    if kind in (TIMESTAMP, ZONED):
        n = _i64(m, p)
        # Infinities, and what 64 bits since 1970 do not hold.
        if not NEAR_MIN_US <= n < NEAR_END_US:
            raise Odd
        return n + EPOCH_US
    if kind == DATE:
        n = _i32(m, p)
        return n + EPOCH_DAYS if -HALF_WORD < n < HALF_WORD - 1 else n
    if kind == BOOLEAN:
        return m[p] == 1
    if kind == INT16:
        n = m[p] << 8 | m[p + 1]
        return n - 65536 if n >= 32768 else n
    return u32(m, p)


@cython.cfunc
@cython.exceptval(-1)
def avro_number(out: cython.p_uchar, o: cython.Py_ssize_t, kind: cython.int, n: cython.longlong) -> cython.Py_ssize_t:
    """Write a canonical number as Avro; return where it ends."""
    end: cython.Py_ssize_t
    if kind == DECIMAL:
        end = two_complement(out, o + 1, n)
        out[o] = 2 * (end - o - 1)
        return end
    if kind == ZONED:
        out[o] = 54
        return zoned(out, o + 1, n)
    if kind == BOOLEAN:
        out[o] = n
        return o + 1
    return varint(out, o, n)


@cython.cfunc
@cython.exceptval(-1)
def avro_value(
    out: cython.p_uchar,
    o: cython.Py_ssize_t,
    kind: cython.int,
    scale: cython.int,
    m: cython.p_const_uchar,
    p: cython.Py_ssize_t,
    q: cython.Py_ssize_t,
) -> cython.Py_ssize_t:
    """Write a value as Avro, behind the byte that says that it is not null; return where it ends."""
    i: cython.int
    out[o] = 2
    o += 1
    if kind >= BYTES:
        if kind == VERSIONED:
            p += 1
            if p > q:
                raise Odd
        o = varint(out, o, q - p)
        return copy(out, o, m, p, q - p)
    if kind == UUID:
        out[o] = 72
        return uuid(out, o + 1, m, p)
    if kind == DECIMAL:
        return avro_number(out, o, kind, _numeric(m, p, q, scale))
    if kind in (FLOAT32, FLOAT64):
        for i in range(q - p):
            out[o + i] = m[q - 1 - i]
        return o + q - p
    return avro_number(out, o, kind, _fixed(kind, m, p))


@cython.cfunc
@cython.exceptval(-1)
def json_number(out: cython.p_uchar, o: cython.Py_ssize_t, kind: cython.int, n: cython.longlong) -> cython.Py_ssize_t:
    """Write a canonical number as JSON; return where it ends."""
    end: cython.Py_ssize_t
    if kind == BOOLEAN:
        return copy(out, o, b"true", 0, 4) if n else copy(out, o, b"false", 0, 5)
    if kind not in (ZONED, DECIMAL):
        return number(out, o, n)
    out[o] = 34
    o += 1
    if kind == ZONED:
        o = zoned(out, o, n)
    else:
        # The number first stands behind its text's place.
        end = two_complement(out, o + 16, n)
        o = base64(out, o, out, o + 16, end)
    out[o] = 34
    return o + 1


@cython.cfunc
@cython.exceptval(-1)
def json_value(
    out: cython.p_uchar,
    o: cython.Py_ssize_t,
    kind: cython.int,
    scale: cython.int,
    m: cython.p_const_uchar,
    p: cython.Py_ssize_t,
    q: cython.Py_ssize_t,
) -> cython.Py_ssize_t:
    """Write a value as JSON; return where it ends."""
    if kind == TEXT:
        return escaped(out, o, m, p, q)
    if kind == VERSIONED:
        if p == q:
            raise Odd
        return escaped(out, o, m, p + 1, q)
    if kind == DECIMAL:
        return json_number(out, o, kind, _numeric(m, p, q, scale))
    if kind not in (UUID, BYTES):
        return json_number(out, o, kind, _fixed(kind, m, p))
    out[o] = 34
    o = uuid(out, o + 1, m, p) if kind == UUID else base64(out, o + 1, m, p, q)
    out[o] = 34
    return o + 1
