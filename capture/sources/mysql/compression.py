"""Compressed parts of the log: MySQL's transaction payloads (zstd) and MariaDB's events (zlib).

zstd is the system's `libzstd`, called directly: Python has no module for it before 3.14. A payload is unpacked piece
by piece, so that a transaction of any size needs little memory.
"""

from __future__ import annotations

import ctypes
import zlib
from collections.abc import Iterator
from functools import lru_cache

from capture.sources.mysql.connection import length_at
from schemas.errors import ErrorKind, TailraceError

_PIECE_BYTES = 1 << 20
_LIBRARIES = ("libzstd.so.1", "libzstd.so", "libzstd.1.dylib", "libzstd.dylib")

_END, _SIZE, _KIND = 0, 1, 2
_ZSTD, _NONE = 0, 255


class _Buffer(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("size", ctypes.c_size_t), ("pos", ctypes.c_size_t))


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    for name in _LIBRARIES:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        library.ZSTD_createDStream.restype = ctypes.c_void_p
        library.ZSTD_freeDStream.argtypes = [ctypes.c_void_p]
        library.ZSTD_decompressStream.restype = ctypes.c_size_t
        library.ZSTD_decompressStream.argtypes = [ctypes.c_void_p, ctypes.POINTER(_Buffer), ctypes.POINTER(_Buffer)]
        library.ZSTD_isError.argtypes = [ctypes.c_size_t]
        return library
    raise TailraceError(
        ErrorKind.PREREQUISITE,
        "the log holds compressed transactions, and the system's zstd library is missing",
        remedy="install libzstd (Debian: libzstd1), or set global binlog_transaction_compression = OFF",
    )


def is_available() -> bool:
    """Tell whether compressed transactions can be read here."""
    try:
        _library()
    except TailraceError:
        return False
    return True


def payload_events(m: bytes, at: int, end: int) -> Iterator[bytes]:
    """Yield the events in a transaction payload event, each behind a byte in place of the packet's status byte.

    Raises ValueError for a payload that cannot be unpacked.
    """
    kind = _ZSTD
    while True:
        field, at = length_at(m, at)
        if field == _END:
            break
        size, at = length_at(m, at)
        if field == _KIND:
            kind, _ = length_at(m, at)
        at += size
    content = m[at:end]
    pieces = iter([content]) if kind == _NONE else _unpacked(content)
    if kind not in (_NONE, _ZSTD):
        raise ValueError("a payload of an unknown compression")
    rest = b""
    for piece in pieces:
        rest += piece
        at = 0
        while len(rest) - at >= 13:
            size = int.from_bytes(rest[at + 9 : at + 13], "little")
            if len(rest) - at < size:
                break
            yield b"\0" + rest[at : at + size]
            at += size
        rest = rest[at:]
    if rest:
        raise ValueError("a payload that ends within an event")


def _unpacked(content: bytes) -> Iterator[bytes]:
    library = _library()
    stream = library.ZSTD_createDStream()
    out = ctypes.create_string_buffer(_PIECE_BYTES)
    held = ctypes.create_string_buffer(content, len(content))
    source = _Buffer(ctypes.cast(held, ctypes.c_void_p), len(content), 0)
    try:
        while True:
            target = _Buffer(ctypes.cast(out, ctypes.c_void_p), _PIECE_BYTES, 0)
            result = library.ZSTD_decompressStream(stream, ctypes.byref(target), ctypes.byref(source))
            if library.ZSTD_isError(result):
                raise ValueError("a payload that zstd cannot unpack")
            if target.pos:
                yield out.raw[: target.pos]
            if source.pos >= source.size and target.pos < _PIECE_BYTES:
                return
    finally:
        library.ZSTD_freeDStream(stream)


def mariadb_unpacked(m: bytes) -> bytes:
    """Unpack what MariaDB compressed: a byte with the algorithm and the length's length, the length, zlib's data."""
    if m[0] & 0xF0 != 0x80:
        raise ValueError("an event of an unknown compression")
    size = m[0] & 7
    content = zlib.decompress(m[1 + size :])
    if len(content) != int.from_bytes(m[1 : 1 + size], "big"):
        raise ValueError("an event that unpacks to another length")
    return content
