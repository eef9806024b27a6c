"""What the schemas topic says: every version of every table, how its records are read, and which loads are done.

The topic alone is enough to decode and to apply: no source and no registry is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import orjson

from runtime import clock
from runtime.lifecycle import pause
from runtime.logging import get_logger
from schemas.codecs import Decoder, compile_decoder, wire
from schemas.errors import ErrorKind, TailraceError
from schemas.format import Format
from schemas.matching import matches
from schemas.routing import Route
from schemas.table import TableName, TableSchema
from schemas.topics import data_topic

log = get_logger(__name__)

Records = Iterable[tuple[bytes | None, bytes | None]]
"""Keys and values of the schemas topic, in order."""


class Consumed(Protocol):
    """What of a consumed record is asked for here."""

    def offset(self) -> Any: ...
    def key(self) -> Any: ...
    def value(self) -> Any: ...


PATIENCE_S = 30.0
"""How long a version may be missing that a record was written with."""
PAUSE_S = 0.02
UNKNOWN_MAX = 1000


@dataclass(frozen=True, slots=True)
class Loaded:
    """Capture's word that a table's full load is published whole."""

    generation: int
    offsets: dict[int, int]
    """By partition of the table's topic: once an applier has passed this offset, it has every loaded row of it."""
    version: int = 0
    """The version that was in force then."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """Capture's word that the source has a table no more."""

    version: int
    """Its last version. A newer one means that another table has come in its place."""
    offsets: dict[int, int]
    """By partition: every record of it stands before."""


@dataclass(slots=True)
class TopicSchemas:
    """What is known of one table's topic."""

    name: TableName
    versions: dict[int, TableSchema] = field(default_factory=dict)
    value_ids: dict[bytes, int] = field(default_factory=dict)
    """Version by the four bytes of the Avro schema id. Versions that read alike share one: the newest stands here."""
    decoders: dict[int, Decoder] = field(default_factory=dict)
    loaded: Loaded | None = None
    dropped: Dropped | None = None
    _wanted: dict[int, TableSchema] = field(default_factory=dict)
    """What targets are to have for the newest version of each life."""

    @property
    def newest(self) -> TableSchema:
        """The newest version that is published."""
        return self.versions[max(self.versions)]

    def wanted(self, version: int | None = None) -> TableSchema:
        """Return what a target is to have for rows of a version, or of the newest one: the newest version of its life,
        as no truncate stands between their rows, with nulls allowed where rows of its earlier versions may have them.
        """
        life = (self.newest if version is None else self.versions[version]).life
        versions = sorted(v for v, table in list(self.versions.items()) if table.life == life)
        newest = versions.pop()
        # Another thread may take in a version meanwhile.
        wanted = self._wanted.get(newest)
        if wanted is None:
            wanted = self._wanted[newest] = _lenient(self.versions[newest], [self.versions[v] for v in versions])
        return wanted

    def take(self, table: TableSchema) -> bool:
        """Take in a version; tell whether it is new."""
        fresh = table.version not in self.versions
        self.versions[table.version] = table
        self.decoders.pop(table.version, None)
        self._wanted.clear()
        return fresh

    @property
    def published(self) -> Loaded | None:
        """The newest load, if the topic holds all its rows."""
        loaded = self.loaded
        is_over = loaded is not None and self.versions.get(loaded.version, self.newest).life == self.newest.life
        return loaded if is_over else None

    @property
    def is_gone(self) -> bool:
        """Whether the source has the table no more."""
        return self.dropped is not None and self.dropped.version == self.newest.version

    def over(self, *, drops: bool) -> int:
        """Return the newest version of which no row will be left at the target; 0: none. `drops`: a dropped table goes.

        A version, not a life: a table that was gone may come back in the life that it had (mode `cdc`).
        """
        newest = self.newest
        if drops and self.is_gone:
            return newest.version
        return max((version for version, table in self.versions.items() if table.life < newest.life), default=0)

    @property
    def oldest(self) -> TableSchema:
        """The version that the replication began with."""
        return self.versions[min(self.versions)]


class Known(NamedTuple):
    """What is known of one table."""

    newest: TableSchema
    """The newest version, as targets are to have it."""
    is_gone: bool
    """Whether the source has it no more."""


class SchemaCatalog:
    """The schemas topic, folded. `read` returns the records that came since it was last called."""

    def __init__(
        self,
        replication: str,
        encoding: Format,
        read: Callable[[], Records],
        *,
        way: Callable[[TableName], Route] | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """`way` says where the changes of a table are, and in what form. Left out: all alike, under the usual names."""
        self._way = way
        self._encodings: dict[str, Format] = {}
        self._left_out: set[TableName] = set()
        self._patience_s = patience_s
        self._unknown: set[tuple[str, bytes]] = set()
        """Marks that were waited for in vain."""
        self._replication = replication
        self._encoding = encoding
        self._read = read
        self.topics: dict[str, TopicSchemas] = {}
        self.revision = 0
        """Goes up whenever a table or a version has come, whoever asked for it."""

    def known(self) -> list[Known]:
        """Return the tables that the source has or had, as far as it was said."""
        # Topics may come meanwhile: whoever asks may be another thread.
        return [Known(one.wanted(), one.is_gone) for one in list(self.topics.values()) if one.versions]

    def refresh(self) -> None:
        """Take in what is new.

        Raises DECODE for a record that a capture of this replication cannot have written.
        """
        self._fold(self._read())

    def _fold(self, records: Records) -> None:
        for key, value in records:
            if key is None or value is None:
                continue
            try:
                self.revision += self._take(orjson.loads(key), orjson.loads(value))
            except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
                raise TailraceError(
                    ErrorKind.DECODE,
                    f"a record of {len(value)} bytes on the schemas topic is not readable ({type(error).__name__})",
                    remedy="only `tailrace capture` may write this topic; if a newer release did, upgrade this one",
                ) from error

    def topic_of(self, table: str | None) -> str | None:
        """Return the topic of a table by its printed name; None for one that is not known."""
        return next((topic for topic, known in self.topics.items() if str(known.name) == table), None)

    def is_referred(self, name: TableName) -> bool:
        """Tell whether a foreign key of the source refers to a table."""
        # Another thread may take in a topic, or a version, meanwhile.
        known = [topic.newest for topic in list(self.topics.values()) if topic.versions]
        return any(key.target == name for table in known for key in table.foreign_keys)

    def decoder(self, topic: str, mark: bytes) -> Decoder:
        """Return what reads the records of a topic that bear `mark` (see `mark_of`).

        The schemas topic is asked again when the mark is new, for some time: the marker that makes a transaction
        visible comes to each of its partitions at another moment. Raises DECODE when the mark stays unknown.
        """
        deadline = None
        encoding = self._encoding_of(topic)
        patience_s = 0.0 if (topic, mark) in self._unknown else self._patience_s
        while True:
            known = self.topics.get(topic)
            version = known and (known.value_ids.get(mark) if encoding is Format.AVRO else _number(mark))
            if known is not None and version in known.versions:
                decoder = known.decoders.get(version)
                if decoder is None:
                    decoder = compile_decoder(known.versions[version], encoding)
                    known.decoders[version] = decoder
                return decoder
            now = clock.monotonic()
            if deadline is None:
                deadline = now + patience_s
            elif now >= deadline:
                break
            else:
                pause(PAUSE_S, f"a record of {topic} waits for its schema")
            self.refresh()
        if len(self._unknown) < UNKNOWN_MAX:
            self._unknown.add((topic, mark))
        raise TailraceError(
            ErrorKind.DECODE,
            f"{topic} holds a record with the schema {_printable(mark, encoding)}, "
            "which the schemas topic does not know",
            remedy="see that nothing but this replication writes the topic, and that its schemas topic was not deleted",
        )

    def mark_of(self, topic: str, value: bytes, key: bytes | None = None) -> bytes:
        """Return the bytes of a value that say which version wrote it. Raises DECODE."""
        if self._encoding_of(topic) is Format.AVRO:
            wire.schema_id(value)
            return value[1 : wire.HEADER_BYTES]
        return str(wire.schema_version(value)).encode()

    def marks(self, topic: str, values: list[bytes], keys: Sequence[bytes | None] = ()) -> set[bytes]:
        """Return all marks of many values at once; `keys` are their records' keys. Raises DECODE."""
        if self._encoding_of(topic) is Format.AVRO:
            heads = {value[: wire.HEADER_BYTES] for value in values}
            return {self.mark_of(topic, head) for head in heads}
        known = self.topics.get(topic)
        if known is not None and len(known.versions) == 1:
            # One version: no need to look for it in each value. The first value tells whether there is a second one.
            mark = self.mark_of(topic, values[-1])
            if _number(mark) in known.versions:
                return {mark}
        return {self.mark_of(topic, value) for value in values}

    def operation(self, topic: str, record: Consumed) -> str | None:
        """Return what a record tells of its row: the envelope's `op`; None where it cannot be read."""
        value = record.value()
        try:
            return str(self.decoder(topic, self.mark_of(topic, value, record.key())).decode_many([value])[0][0])
        except TailraceError as error:
            if error.kind is not ErrorKind.DECODE:
                raise
            return None

    def sequence(self, decoder: Decoder, record: Consumed) -> int:
        """Return the commit sequence of a record that `decoder` reads. Raises DECODE."""
        return decoder.facts(record.value()).seq

    def _take(self, key: Any, document: dict[str, Any]) -> bool:
        if isinstance(key, list):
            kind, schema, table = key
            if not self._takes(TableName(schema, table)):
                return False
            known = self._topic(TableName(schema, table))
            # Without offsets a table is gone, and it is not yet said where its last record stands.
            offsets = {int(p): int(o) for p, o in document.get("offsets", {}).items()}
            if kind == "loaded":
                known.loaded = Loaded(int(document["generation"]), offsets, int(document["version"]))
            elif kind == "dropped" and offsets:
                known.dropped = Dropped(int(document["version"]), offsets)
            return False
        table_schema = TableSchema.from_document(document)
        if not self._takes(table_schema.name):
            return False
        known = self._topic(table_schema.name)
        fresh = known.take(table_schema)
        value_id = document.get("value_schema_id")
        if isinstance(value_id, int):
            mark = value_id.to_bytes(4, "big")
            known.value_ids[mark] = max(table_schema.version, known.value_ids.get(mark, 0))
        return fresh

    def _topic(self, name: TableName) -> TopicSchemas:
        if self._way is None:
            topic = data_topic(self._replication, name)
        else:
            way = self._way(name)
            topic, self._encodings[way.topic] = way.topic, way.format
        if topic not in self.topics:
            self.topics[topic] = TopicSchemas(name)
        return self.topics[topic]

    def _takes(self, name: TableName) -> bool:
        """Tell whether the topic of a table is one that appliers read."""
        if self._way is None or (way := self._way(name)).is_applicable:
            return True
        if name not in self._left_out:
            self._left_out.add(name)
            log.warning("table is not applied", table=str(name), reason=way.why_not)
        return False

    def _encoding_of(self, topic: str) -> Format:
        return self._encodings.get(topic, self._encoding)


def _lenient(newest: TableSchema, earlier: Sequence[TableSchema]) -> TableSchema:
    """Allow a version the nulls that rows of earlier ones have, or get as they lack a column or its type."""
    has_nulls = set()
    for table in earlier:
        for column, before in zip(newest.columns, matches(newest, table), strict=True):
            is_missing = before is None and column.filling is None
            # Values of another type are left out: what they became is loaded.
            if is_missing or (before is not None and (before.nullable or before.native != column.native)):
                has_nulls.add(column.name)
    strict = {c.name for c in newest.columns if not (c.nullable or c.identity)}
    has_nulls &= strict.difference(newest.key_names)
    if not has_nulls:
        return newest
    columns = (replace(c, nullable=True, loosened=True) if c.name in has_nulls else c for c in newest.columns)
    return replace(newest, columns=tuple(columns))


def _number(mark: bytes) -> int:
    return int(mark) if mark.isdigit() else 0


def _printable(mark: bytes, encoding: Format) -> str:
    return f"id {int.from_bytes(mark, 'big')}" if encoding is Format.AVRO else f"version {_number(mark)}"
