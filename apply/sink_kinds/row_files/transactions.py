"""Files of changes of all tables, in the order of their commits: DMS's `PreserveTransactions`.

What comes between two flushes follows all that came before it, whatever its partition: the service sees to that
(`Capabilities.commit_order`). So sorting it by commit sequence puts all files into one order, and a file is named by
its first change like those of one table. They are a chain: each begins where another ends, since whoever begins
looks how far the file goes that holds its first change.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from operator import itemgetter

from apply.sink import Origin
from apply.sink_kinds.row_files.formats import CsvFormat
from apply.sink_kinds.row_files.store import FileName, Store
from schemas.endpoints.files import RowFiles
from schemas.types.calendar import moment

_NAME = re.compile(r"/CDC_TXN-\d{17}-([0-9A-F]{16})[^/]*\Z")

Line = tuple[int, int, bytes]
"""Commit sequence, time of the commit in microseconds, and the row."""


class TransactionFiles:
    """The files of one directory."""

    def __init__(self, store: Store, settings: RowFiles, size_max: int) -> None:
        self._store = store
        self._folder = tuple(settings.cdc_path.strip("/").split("/"))
        self._size_max = size_max
        self._lines: list[Line] = []
        self._format: CsvFormat | None = None
        self._reached: int | None = None
        """Up to here all changes stand in files, whoever wrote them. None: it has to be looked for."""

    def add(self, rows: Sequence[bytes], origins: Sequence[Origin], format_: CsvFormat) -> None:
        """Take in rows of one table, encoded by its format."""
        self._format = format_
        self._lines += [(origin.seq, origin.commit_ts_us, row) for row, origin in zip(rows, origins, strict=True)]

    def clear(self) -> None:
        """Forget what was not written."""
        self._lines.clear()

    def release(self) -> None:
        """Others may write from here on."""
        self._reached = None

    def flush(self) -> None:
        """Write what was taken in. What stands in a file that is there already is left out."""
        # A truncate is in every partition of its topic, under one sequence: here it is said once.
        lines = sorted(dict.fromkeys(self._lines), key=itemgetter(0))
        if lines and self._reached is None:
            self._reached = self._look(lines[0][0])
        begin = bisect_right(lines, self._reached or 0, key=itemgetter(0))
        while begin < len(lines):
            end = self._end(lines, begin)
            there = self._write(lines[begin:end])
            if there is not None:
                self._reached = there
                end = bisect_right(lines, there, key=itemgetter(0))
            begin = end
        self._lines.clear()

    def _look(self, seq: int) -> int:
        """Return how far the file goes that holds a change, or all before it."""
        firsts = {int(found[1], 16): path for path in self._store.paths(self._folder) if (found := _NAME.search(path))}
        before = max((first for first in firsts if first <= seq), default=None)
        return 0 if before is None else self._store.last(firsts[before])

    def _end(self, lines: Sequence[Line], begin: int) -> int:
        """Return where a file ends that begins there: when it is full, and never within one commit sequence."""
        size = 0
        for place in range(begin, len(lines)):
            if size >= self._size_max and lines[place][0] != lines[place - 1][0]:
                return place
            size += len(lines[place][2])
        return len(lines)

    def _write(self, lines: Sequence[Line]) -> int | None:
        """Write one file; return how far the one goes that is there already, if there is one."""
        assert self._format is not None
        seq, us, _ = lines[0]
        at = moment(us)
        stem = f"CDC_TXN-{at:%Y%m%d%H%M%S}{at.microsecond // 1000:03d}-{seq:016X}"
        name = FileName(self._folder, stem, self._format.extension, lines[-1][0])
        content = self._format.content([[row for _, _, row in lines]])
        return self._store.create(name, content, self._format.content_type)
