"""Compressed parts of the log: MySQL's transaction payloads (zstd), MariaDB's events and columns (zlib).

zstd is the system's `libzstd`, called directly: Python has no module for it before 3.14. A payload is unpacked piece
by piece, so that a transaction of any size needs little memory.
"""

from __future__ import annotations

import ctypes
import zlib
from collections.abc import Iterable, Iterator
from functools import lru_cache

from capture.sources.mysql.packets import Packet, length_at
from runtime.spool import HELD_BYTES_MAX, Spool, SpooledMessage
from schemas.errors import ErrorKind, TailraceError
from schemas.large_values import Buffer, sliced

_PIECE_BYTES = 1 << 20
_LIBRARIES = ("libzstd.so.1", "libzstd.so", "libzstd.1.dylib", "libzstd.dylib")

_SIZED_BYTES = 13
"""So many bytes of an event tell its size: the last four of them."""

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


def payload_events(m: Packet, at: int, end: int, directory: str | None = None) -> Iterator[Packet]:
    """Yield the events in a transaction payload event, each behind a byte in place of the packet's status byte; large
    ones are in files in `directory`.

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
    content = map(bytes, sliced(memoryview(m)[at:end])) if isinstance(m, bytes) else m.pieces(at, end - at)
    pieces = content if kind == _NONE else _unpacked(content)
    if kind not in (_NONE, _ZSTD):
        raise ValueError("a payload of an unknown compression")
    rest = b""
    for piece in pieces:
        rest += piece
        at = 0
        while len(rest) - at >= _SIZED_BYTES:
            size = int.from_bytes(rest[at + _SIZED_BYTES - 4 : at + _SIZED_BYTES], "little")
            if len(rest) - at < size:
                if size <= HELD_BYTES_MAX:
                    break
                spool = Spool.make(directory)
                rest = _file(spool, size, rest[at:], pieces)
                at = 0
                yield SpooledMessage(spool, 0, size, b"\0")
                continue
            yield b"\0" + rest[at : at + size]
            at += size
        rest = rest[at:]
    if rest:
        raise ValueError("a payload that ends within an event")


def _file(spool: Spool, size: int, begun: bytes, pieces: Iterator[bytes]) -> bytes:
    """Write an event of so many bytes, of which some are there; return what follows it."""
    piece = begun
    while spool.size + len(piece) < size:
        spool.write([piece])
        found = next(pieces, None)
        if found is None:
            raise ValueError("a payload that ends within an event")
        piece = found
    left = size - spool.size
    spool.write([piece[:left]])
    return piece[left:]


def _unpacked(content: Iterable[bytes]) -> Iterator[bytes]:
    library = _library()
    stream = library.ZSTD_createDStream()
    out = ctypes.create_string_buffer(_PIECE_BYTES)
    try:
        for piece in content:
            held = ctypes.create_string_buffer(piece, len(piece))
            source = _Buffer(ctypes.cast(held, ctypes.c_void_p), len(piece), 0)
            while True:
                target = _Buffer(ctypes.cast(out, ctypes.c_void_p), _PIECE_BYTES, 0)
                result = library.ZSTD_decompressStream(stream, ctypes.byref(target), ctypes.byref(source))
                if library.ZSTD_isError(result):
                    raise ValueError("a payload that zstd cannot unpack")
                if target.pos:
                    yield out.raw[: target.pos]
                if source.pos >= source.size and target.pos < _PIECE_BYTES:
                    break
    finally:
        library.ZSTD_freeDStream(stream)


def mariadb_unpacked(m: Packet, at: int, end: int, directory: str | None = None) -> Packet:
    """Unpack what MariaDB compressed: a byte with the algorithm and the length's length, the length, zlib's data. What
    is large is in a file in `directory` then.
    """
    if m[at] & 0xF0 != 0x80:
        raise ValueError("an event of an unknown compression")
    begin = at + 1 + (m[at] & 7)
    length = int.from_bytes(m[at + 1 : begin], "big")
    if isinstance(m, bytes) and length <= HELD_BYTES_MAX:
        return _inflated(m[begin:end], length)
    unpacking = zlib.decompressobj()
    spool = Spool.make(directory)
    for piece in sliced(memoryview(m)[begin:end]) if isinstance(m, bytes) else m.pieces(begin, end - begin):
        rest: Buffer = piece
        while rest and not unpacking.eof:
            # Zeros shrink to a thousandth.
            spool.write([unpacking.decompress(rest, _PIECE_BYTES)])
            if spool.size > length:
                raise ValueError(_OTHER_LENGTH)
            rest = unpacking.unconsumed_tail
    spool.write([unpacking.flush()])
    if spool.size != length or not unpacking.eof:
        raise ValueError(_OTHER_LENGTH)
    return SpooledMessage.of(spool)


def unpacked_value(x: bytes, limit: int) -> bytes:
    """Return a value of a compressed column of MariaDB's, which holds `limit` bytes at most: none at all; behind a byte
    below 16 as it is; or as `mariadb_unpacked` says, where bit 3 says that zlib's data have no frame.
    """
    if not x:
        return x
    method, begin = x[0] & 0xF0, 1 + (x[0] & 7)
    if not method:
        return x[1:]
    length = int.from_bytes(x[1:begin], "big")
    if method != 0x80 or length > limit:
        raise ValueError("a value of an unknown compression")
    return _inflated(x[begin:], length, -zlib.MAX_WBITS if x[0] & 8 else zlib.MAX_WBITS)


def _inflated(data: bytes, length: int, bits: int = zlib.MAX_WBITS) -> bytes:
    unpacking = zlib.decompressobj(bits)
    try:
        # (A byte more than it says: of what is longer no more is unpacked.)
        content = unpacking.decompress(data, length + 1)
    except zlib.error:
        raise ValueError("bytes that zlib cannot unpack") from None
    if len(content) != length or not unpacking.eof:
        raise ValueError(_OTHER_LENGTH)
    return content


_OTHER_LENGTH = "what is compressed unpacks to another length"
