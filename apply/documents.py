"""Changes as JSON documents: what sinks have in common that hand each change on as one."""

from __future__ import annotations

import orjson

from apply.sink import TableBatch
from schemas.dms_json import Write, document_writer
from schemas.table import TableSchema

WRITERS_MAX = 10_000


class Documents:
    """Makes the document of each change of a batch."""

    def __init__(self) -> None:
        self._writers: dict[str, Write] = {}

    def encode(self, batch: TableBatch) -> list[bytes]:
        """Return a document for each item of `sequence`."""
        write = self._writer(batch.table)
        return [
            orjson.dumps(write(op, before, after, origin.seq, origin.commit_ts_us, origin.txid))
            for (op, before, after), origin in zip(batch.sequence, batch.origins["sequence"], strict=True)
        ]

    def _writer(self, table: TableSchema) -> Write:
        key = f"{table.name} {table.fingerprint}"
        if key not in self._writers:
            if len(self._writers) >= WRITERS_MAX:
                self._writers.pop(next(iter(self._writers)))
            self._writers[key] = document_writer(table)
        return self._writers[key]
