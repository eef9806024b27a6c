"""A loader process: reads chunks of tables and encodes their rows, so that the service need not.

One request at a time comes through a pipe; answers go back through it, and the pipe's own capacity is the bound on what
is in flight. A request may be for many small tables: what each costs is then neither a turn of the service nor a
snapshot of its own. The process never outlives the service: a watchdog thread ends it when its parent dies, whatever it
waits for.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import closing, suppress
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.reduction import send_handle
from typing import NamedTuple, Protocol

from capture.source import WHOLE, Chunk, LockedError, Snapshot, SnapshotReader, UnreachableError
from capture.sources import open_snapshot_reader
from runtime import garbage, heap, logging
from runtime.spool import Spool
from schemas.bundles import Bundle
from schemas.codecs import Encoder, SchemaIds, compile_encoder, forget_encoders
from schemas.errors import ErrorKind, TailraceError
from schemas.large_values import LargeValue, least_bytes
from schemas.mappings.segments import Segment
from schemas.routing import inner_format, route
from schemas.row_forms import UnreadRows
from schemas.settings import Settings
from schemas.table import TableSchema

BATCH_ROWS = 1000
"""Rows per message, if they are small: `chunk_reader.RUN_BYTES_MAX`."""
PARTS_MAX = 1000
"""So many partitions may be loaded alone: what is kept of their chunks is one record."""


class PlanRequest(NamedTuple):
    """Cut a table into chunks."""

    table: TableSchema
    chunk_rows: int
    parts: tuple[int, ...] = ()
    """The partitions that are wanted alone; empty: all there is."""


class GroupRequest(NamedTuple):
    """Read whole those of several tables that one snapshot serves."""

    tables: tuple[TableSchema, ...]
    ids: tuple[SchemaIds | None, ...]
    """Of the Avro schemas of each."""
    chunk_rows: int
    """Those that may have more rows are left out."""


class ReadRequest(NamedTuple):
    """Read a chunk."""

    table: TableSchema
    chunk: Chunk
    ids: SchemaIds | None = None
    """Of its Avro schemas, where they are none of our own making."""


class LookRequest(NamedTuple):
    """Take a snapshot, and read nothing."""


class Looked(NamedTuple):
    """What such a snapshot sees."""

    snapshot: Snapshot


class Held(NamedTuple):
    """Which tables of a group come, in this order. The others are to be asked for alone."""

    places: list[int]


class Planned(NamedTuple):
    """The chunks of a table."""

    chunks: list[Chunk]


class Opened(NamedTuple):
    """A chunk is being read; the snapshot is known."""

    snapshot: Snapshot


class Kept(NamedTuple):
    """A large value of a row, which has its stand-in; the bytes are in a file."""

    stand_in: bytes
    is_text: bool
    size: int


class Rows(NamedTuple):
    """Encoded rows of the chunk."""

    bundle: Bundle
    kept: tuple[Kept, ...] = ()
    """Large values of a row that comes alone, one behind the other in `spool`."""
    spool: Spool | None = None
    """What the open file that follows such a row through the pipe becomes."""

    @property
    def size_bytes(self) -> int:
        """What they take in memory; large values in a file count, too."""
        return len(self.bundle.content) + sum(value.size for value in self.kept)

    def values(self) -> list[LargeValue]:
        """Return the large values."""
        found: list[LargeValue] = []
        at = 0
        for stand_in, is_text, size in self.kept:
            assert self.spool is not None, "the file comes with the row"
            found.append(LargeValue(stand_in, is_text, size, partial(self.spool.pieces, at, size)))
            at += size
        return found


class Coming(NamedTuple):
    """Rows follow through the pipe: so many bytes as they are, then the open file if values are kept in one."""

    row_count: int
    size_bytes: int
    kept: tuple[Kept, ...]


class Ended(NamedTuple):
    """The chunk has no more rows."""


class Failed(NamedTuple):
    """The request failed, with all that is left of it; the process is ready for another."""

    kind: ErrorKind
    message: str
    remedy: str | None
    is_of_all: bool = False
    """Whether it is no matter of the table that was asked for."""
    is_locked: bool = False
    """Whether somebody's lock is in the way of that table."""


class Taken(NamedTuple):
    """Tells a loader that a file has come through the pipe. Such rows are so short that without it a hundred would wait
    there, each with its file on disk.
    """


Request = PlanRequest | GroupRequest | ReadRequest | LookRequest
Answer = Held | Planned | Looked | Opened | Rows | Ended | Failed


class Worker(Protocol):
    """One loader process, as its service sees it."""

    def send(self, request: Request) -> None:
        """Hand over the next request; the last one has been answered. Raises OSError if the process is gone."""
        ...

    def receive(self) -> Answer | None:
        """Return the next answer, or None if there is none yet. Raises EOFError if the process is gone."""
        ...

    def close(self) -> None:
        """End the process."""
        ...


def main(descriptor: int) -> None:
    """Serve the requests of a pipe until it closes. Runs in a process of its own."""
    # The service drains on a signal to the group (Ctrl-C); it ends its loaders itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    heap.keep()
    channel = Connection(descriptor)
    # It ends when the service is gone or has given this process up.
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        settings, connector = channel.recv()
        logging.configure()
        logging.bind(replication=settings.name, role="loader")
        with closing(_Loader(channel, settings, connector)) as loader:
            loader.warm_up()
            garbage.spare()
            while True:
                loader.serve(channel.recv())


class _Loader:
    """What answers requests, by a reader that is made anew after each failure."""

    def __init__(self, channel: Connection, settings: Settings, connector: str) -> None:
        self._channel = channel
        self._settings = settings
        self._connector = connector
        self._reader: SnapshotReader | None = None

    def warm_up(self) -> None:
        """Import the engine before anything is asked for. What is wrong with it is said then."""
        with suppress(TailraceError):
            self._opened()

    def serve(self, request: Request | Taken) -> None:
        """Answer a request. (Taken: of the last file of the chunk before.)"""
        if isinstance(request, Taken):
            return
        try:
            reader = self._opened()
            if isinstance(request, GroupRequest):
                self._load(request, reader)
            elif isinstance(request, PlanRequest):
                self._channel.send(Planned(_plan(reader, request)))
            elif isinstance(request, LookRequest):
                self._channel.send(Looked(reader.look()))
            else:
                self._read(request, reader)
        except TailraceError as error:
            self.close()
            of_all, locked = isinstance(error, UnreachableError), isinstance(error, LockedError)
            self._channel.send(Failed(error.kind, error.message, error.remedy, of_all, locked))

    def close(self) -> None:
        """Give the connection up. Asking again makes another."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def _load(self, group: GroupRequest, reader: SnapshotReader) -> None:
        held = reader.hold(group.tables, group.chunk_rows)
        self._channel.send(Held(held))
        for place in held:
            if self._read(ReadRequest(group.tables[place], WHOLE, group.ids[place]), reader):
                # The last file is taken: others of the group may have some.
                self._channel.recv()
        reader.release()
        # None of these tables comes again: of thousands they would stay.
        forget_encoders()
        garbage.collect_young()

    def _read(self, request: ReadRequest, reader: SnapshotReader) -> bool:
        encoder = _encoder(request, self._settings, self._connector)
        return _read(self._channel, reader, request, encoder, _keeping(request, self._settings))

    def _opened(self) -> SnapshotReader:
        if self._reader is None:
            self._reader = open_snapshot_reader(self._settings)
        return self._reader


def _plan(reader: SnapshotReader, request: PlanRequest) -> list[Chunk]:
    """Cut a table, or those of its parts that it still has: the whole, where one of them cannot be read by itself."""
    if request.parts and len(request.parts) <= PARTS_MAX:
        wanted = {str(part) for part in request.parts}
        parts = [part for part in reader.partitions(request.table) if part.identity in wanted]
        if not parts:
            return []
        if not any(part.refusal for part in parts):
            segments = [Segment(part.name, part.identity) for part in parts]
            return reader.plan(request.table, request.chunk_rows, segments)
    return reader.plan(request.table, request.chunk_rows)


def send_rows(channel: Connection, bundle: Bundle, kept: tuple[Kept, ...] = ()) -> None:
    """Send rows as they are: nothing is copied but by the kernel."""
    with memoryview(bundle.content) as content:
        channel.send(Coming(len(bundle), len(content), kept))
        at = 0
        while at < len(content):
            at += os.write(channel.fileno(), content[at:])


class _Keeping(NamedTuple):
    """Which values are kept in files, and where these are."""

    least_bytes: int
    directory: str | None


def _read(
    channel: Connection, reader: SnapshotReader, request: ReadRequest, encoder: Encoder, keeping: _Keeping | None
) -> bool:
    """Read a chunk; return whether a file was sent that is still to be taken."""
    opened = has_sent_file = False
    for rows in reader.read(request.table, request.chunk, BATCH_ROWS):
        if not opened:
            channel.send(Opened(reader.snapshot()))
            opened = True
        # Rows that filters or rules have looked at are read, and whole.
        values = rows.cut(keeping.least_bytes) if keeping is not None and isinstance(rows, UnreadRows) else []
        bundle = encoder.loaded(rows)
        # It may be one row of very many bytes: each form of it goes when the next is made.
        del rows
        kept = tuple(Kept(value.stand_in, value.is_text, value.size) for value in values)
        if keeping is not None and values:
            if has_sent_file:
                # Nothing else comes before this chunk has ended.
                channel.recv()
            spool = Spool.make(keeping.directory)
            for value in values:
                spool.write(value.pieces())
            send_rows(channel, bundle, kept)
            send_handle(channel, spool.descriptor, None)
            spool.close()
            has_sent_file = True
        else:
            send_rows(channel, bundle)
        del bundle, values
    if not opened:
        channel.send(Opened(reader.snapshot()))
    channel.send(Ended())
    return has_sent_file


def _keeping(request: ReadRequest, settings: Settings) -> _Keeping | None:
    if not route(settings, request.table.name).is_plain:
        # Other shapes are made of whole rows.
        return None
    return _Keeping(least_bytes(settings), settings.capture.state_directory)


def _encoder(request: ReadRequest, settings: Settings, connector: str) -> Encoder:
    # Compiled codecs are cached by the schema's fingerprint.
    return compile_encoder(
        request.table,
        inner_format(route(settings, request.table.name)),
        replication=settings.name,
        connector=connector,
        database=settings.source.database or request.table.name.schema,
        ids=request.ids,
    )


def _die_with_parent() -> None:
    # The service writes nothing there, and holds the other end as long as it lives.
    os.read(sys.stdin.fileno(), 1)
    os._exit(0)
