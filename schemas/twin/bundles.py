# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Bundles of rows (`schemas.bundles`): taken apart, and what they and their records are written with."""

from __future__ import annotations

from sys import byteorder

import cython

if cython.compiled:
    from cython.cimports.libc.string import memcpy
    from cython.cimports.schemas.twin.values import number, unsigned
else:
    from schemas.twin.values import number, unsigned

COMPILED = cython.compiled
SOURCES = TWIN_SOURCES.decode() if cython.compiled else ""  # noqa: F821 - C's, see the .pxd
"""What it was built of (`schemas.twin.sources_digest`)."""


@cython.cfunc
@cython.exceptval(check=False)
def word(m: cython.p_const_uchar, p: cython.Py_ssize_t) -> cython.longlong:
    """Read a number as the machine has it."""
    n: cython.longlong = 0
    if cython.compiled:
        memcpy(cython.address(n), m + p, 8)
    else:
        n = int.from_bytes(m[p : p + 8], byteorder, signed=True)
    return n


@cython.cfunc
@cython.exceptval(check=False)
def put_word(out: cython.p_uchar, o: cython.Py_ssize_t, n: cython.longlong) -> cython.Py_ssize_t:
    """Write a number so."""
    if cython.compiled:
        memcpy(out + o, cython.address(n), 8)
    else:
        out[o : o + 8] = n.to_bytes(8, byteorder, signed=True)
    return o + 8


@cython.cfunc
@cython.exceptval(check=False)
def sequence(out: cython.p_uchar, o: cython.Py_ssize_t, n: cython.longlong, is_json: cython.bint) -> cython.Py_ssize_t:
    """Write a commit sequence."""
    if is_json:
        return number(out, o, n)
    # Fourteen bits, then the rest: the sequences of an epoch are of one width.
    out[o] = (n << 1 & 127) | 128
    out[o + 1] = (n >> 6 & 127) | 128
    return unsigned(out, o + 2, n >> 13)


def apart(
    content: bytearray, at: cython.Py_ssize_t, count: cython.Py_ssize_t
) -> tuple[list[bytes | None], list[bytes]]:
    """Return the keys and the bodies of so many rows from a place on. Raises ValueError if they are not there."""
    keys: list = []
    bodies: list = []
    m: cython.p_const_uchar = content
    n: cython.Py_ssize_t = len(content)
    p: cython.Py_ssize_t = at
    key_bytes: cython.longlong
    body_bytes: cython.longlong
    _: cython.Py_ssize_t
    for _ in range(count):
        if p + 16 > n:
            raise ValueError("a bundle that ends too soon")
        key_bytes = word(m, p)
        body_bytes = word(m, p + 8)
        p += 16
        if body_bytes < 0 or body_bytes > n - p or key_bytes > n - p - body_bytes:
            raise ValueError("a bundle that ends too soon")
        bodies.append(bytes(m[p : p + body_bytes]))
        p += body_bytes
        if key_bytes < 0:
            keys.append(None)
        else:
            keys.append(bytes(m[p : p + key_bytes]))
            p += key_bytes
    return keys, bodies
