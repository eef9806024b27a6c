"""Messages of a server: one or more packets of the protocol, lengths within them, and what those say that tell of an
error.
"""

from __future__ import annotations

from runtime.spool import Spool, SpooledMessage
from schemas.errors import ErrorKind, TailraceError
from schemas.large_values import FiledMessage

_ACCESS = frozenset({1044, 1045, 1698, 1142, 1143, 1227, 1370, 3118, 1820, 4151})
# A server that wants TLS of a user does not say so, nor does MariaDB 10.11 that wants it of all.
_LOGIN = (
    "check `source.user` and `source.password`, the host that the server sees, and whether it wants TLS: "
    "`source.tls.mode`"
)
RIGHTS = "grant what `tailrace plan --grants` prints"
_REMEDIES = {
    **dict.fromkeys((1044, 1142, 1143, 1227, 1370), RIGHTS),
    **dict.fromkeys((1045, 1698), _LOGIN),
    3159: "set `source.tls.mode` to `require` or better",
}
_GONE = frozenset(
    {1040, 1053, 1077, 1079, 1152, 1158, 1159, 1160, 1161, 1184, 1205, 1213, 1317, 1927, 2006, 2013, 3024, 4031}
)
_SCHEMA = frozenset({1051, 1054, 1146, 1109, 1049, 1412, 1735})
_LOST = frozenset({1236, 1371, 1373, 1781, 1789, 1950, 1951, 1952, 1953, 1955})

PACKET_MAX = 0xFFFFFF
"""A packet of so many bytes is followed by another one of the same message."""

Packet = bytes | SpooledMessage
"""A message of the server's. One of several packets of 16 MiB may be in a file."""


class LargeMessage:
    """A message of several packets, while they come: all but the last one are of 16 MiB."""

    def __init__(self, spool: Spool | None) -> None:
        """Without a spool it is kept in memory."""
        self._spool = spool
        self._parts: list[bytes] = []
        self.left = 0
        """Bytes of the packet at hand that are still to come."""
        self.is_last = False

    def add(self, content: memoryview) -> None:
        """Take over more of the packet at hand."""
        if self._spool is not None:
            self._spool.write([content])
        else:
            self._parts.append(bytes(content))
        self.left -= len(content)

    def whole(self) -> Packet:
        """Return the message, which has come."""
        return SpooledMessage.of(self._spool) if self._spool is not None else b"".join(self._parts)


def length_at(m: bytes | FiledMessage, at: int) -> tuple[int, int]:
    """Read a length-encoded integer: its value and where it ends."""
    first = m[at]
    if first < 0xFB:
        return first, at + 1
    size = {0xFC: 2, 0xFD: 3, 0xFE: 8}[first]
    return int.from_bytes(m[at + 1 : at + 1 + size], "little"), at + 1 + size


def error_of(packet: bytes, doing: str) -> TailraceError:
    """Return the error that an error packet amounts to: code, SQLSTATE, message."""
    code = int.from_bytes(packet[1:3], "little")
    at = 9 if packet[3:4] == b"#" else 3
    message = " ".join(packet[at:].decode("utf-8", "replace").split())
    return TailraceError(kind_of(code), f"{doing}: {message} ({code})", remedy=_REMEDIES.get(code))


def kind_of(code: int) -> ErrorKind:
    """Return the kind of a server's error by its number (MySQL error reference; MariaDB error codes)."""
    if code in _ACCESS:
        return ErrorKind.PREREQUISITE
    if code in _LOST:
        return ErrorKind.SOURCE_LOG_LOST
    if code in _SCHEMA:
        return ErrorKind.SOURCE_SCHEMA
    if code in _GONE:
        return ErrorKind.SOURCE_CONNECTION
    return ErrorKind.PREREQUISITE
