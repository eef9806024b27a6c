"""Places in the log of a MySQL server without GTIDs: a file and an offset, which mean nothing on any other server.

The number that orders them is the file's number, then the offset: files are numbered along the log. When the file was
made, which its first event says, tells it from one of the same name after `reset binary logs`. A transaction never
spans files, so that one can make a file grow beyond 4 GiB (MySQL reference manual, `max_binlog_size`), and events hold
offsets of 32 bits: such a transaction is refused.
"""

from __future__ import annotations

import re

from capture.source import RELOAD
from capture.sources.mysql import binlog
from capture.sources.mysql.binlog import Gtid
from capture.sources.mysql.packets import Packet
from schemas.errors import ErrorKind, TailraceError

_PLACE = re.compile(r"([^\s:]+\.(\d{1,18})):(\d{1,10})(?:@(\d{1,10}))?")
_OFFSET_BITS = 32
_BEGINNINGS = (binlog.GTID, binlog.TAGGED_GTID, binlog.ANONYMOUS_GTID)


class FileOffset:
    """Everything before an offset of a file is behind."""

    def __init__(self, file: str, offset: int, made_s: int = 0) -> None:
        self.file = file
        self.offset = offset
        self.made_s = made_s
        """When the file was made, in seconds since 1970; 0: not known yet."""
        self._seen = offset
        """Where the last event ends. Within a transaction that is not its end yet."""
        self._in_transaction = False

    @classmethod
    def parse(cls, text: str) -> FileOffset:
        """Read what `text` prints. Raises ValueError."""
        found = _PLACE.fullmatch(text.strip())
        if found is None or int(found[3]) >> _OFFSET_BITS:
            raise ValueError("no file and offset of MySQL's log")
        return cls(found[1], int(found[3]), int(found[4] or 0))

    @property
    def size(self) -> int:
        """The number that orders places along a log."""
        return int(self.file.rpartition(".")[2]) << _OFFSET_BITS | self.offset

    @property
    def is_first(self) -> bool:
        """Whether no transaction is behind."""
        return self.size >> _OFFSET_BITS == 1 and self.offset <= binlog.FIRST_BYTE

    def text(self) -> str:
        """Print the place: FILE:OFFSET, and `@` with the file's age where it is known."""
        return f"{self._name}@{self.made_s}" if self.made_s else self._name

    @property
    def _name(self) -> str:
        return f"{self.file}:{self.offset}"

    def begin(self, gtid: Gtid) -> str:
        """Go on to the end of the transaction that begins here, which its first event tells; return its name: the file
        and offset before it. Raises PREREQUISITE where offsets do not reach its end.
        """
        name = self._name
        self.offset = self._seen + gtid.length
        if self.offset >> _OFFSET_BITS:
            raise TailraceError(
                ErrorKind.PREREQUISITE,
                f"a transaction of {gtid.length} bytes ends beyond 4 GiB of {self.file}, which offsets do not reach",
                remedy=f"set gtid_mode = ON and make transactions smaller; then {RELOAD}",
                position=name,
            )
        self._in_transaction = True
        return name

    def end(self) -> None:
        """The transaction has ended with the event that was seen last."""
        self.offset = self._seen
        self._in_transaction = False

    def see(self, m: Packet, until: int) -> None:
        """Go on with a packet of the log's stream. The first event of a transaction is for `begin`.

        Raises SOURCE_LOG_LOST if the file is another one than that of the place.
        """
        time_s, kind, _, _, end, flags = binlog.header(m[: 1 + binlog.HEADER_BYTES], 1)
        if kind == binlog.ROTATE:
            at = 1 + binlog.HEADER_BYTES
            file = m[at + 8 : until].decode()
            if file != self.file:
                self.made_s = 0
            self.file = file
            self.offset = self._seen = int.from_bytes(m[at : at + 8], "little")
            return
        if kind == binlog.FORMAT_DESCRIPTION:
            if self.made_s not in (0, time_s):
                raise TailraceError(
                    ErrorKind.SOURCE_LOG_LOST,
                    f"{self.file} is not the file that the position is in: the log was reset, and begun again",
                    remedy=RELOAD,
                    position=self.text(),
                )
            self.made_s = time_s
        if end and not flags & binlog.ARTIFICIAL and kind not in _BEGINNINGS:
            self._seen = end
            if not self._in_transaction:
                self.offset = end
