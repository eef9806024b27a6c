# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Bundles of rows taken apart: the compiled twin of `schemas.bundles.Bundle.apart`."""

from __future__ import annotations

import cython

if cython.compiled:
    from cython.cimports.schemas.twin.values import word
else:
    from schemas.twin.values import word

COMPILED = cython.compiled
SOURCES = TWIN_SOURCES.decode() if cython.compiled else ""  # noqa: F821 - C's, see the .pxd
"""What it was built of (`schemas.twin.sources_digest`)."""


def apart(
    content: bytearray, at: cython.Py_ssize_t, count: cython.Py_ssize_t
) -> tuple[list[bytes | None], list[bytes | None]]:
    """Return the keys and the bodies of so many rows from a place on, or the keys and the values of records. Raises
    ValueError if they are not there.
    """
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
        if body_bytes > n - p or key_bytes > n - p - max(body_bytes, 0):
            raise ValueError("a bundle that ends too soon")
        if body_bytes < 0:
            bodies.append(None)
        else:
            bodies.append(bytes(m[p : p + body_bytes]))
            p += body_bytes
        if key_bytes < 0:
            keys.append(None)
        else:
            keys.append(bytes(m[p : p + key_bytes]))
            p += key_bytes
    return keys, bodies
