"""What a compiled codec offers to the services: `Encoder` to the publisher, `Decoder` to the applier.

Both belong to one version of one table and one format. Their functions are generated (see `generate`), so that a row
costs no look-up by name and no call per column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from schemas.bundles import Around, Bundle, Pair, RecordBundle
from schemas.changes import Row, RowChanges, SmallTransactions
from schemas.errors import TailraceError
from schemas.format import Format
from schemas.row_forms import CopiedForm, LoggedForm, StagedForm, UnreadRows
from schemas.table import TableSchema

Encoded = tuple[list[bytes | None], list[bytes]]
"""The keys and the bodies of rows."""

Decoded = tuple[str, Row | None, Row | None]
"""The operation (`r`, `c`, `u`, `d`, `t`), the row before and the row after."""


Staged = tuple[str, Row | None, Row | bytes | None]
"""The same, with bytes for most rows after: what a sink's form made of them."""


@dataclass(slots=True)
class Block:
    """The part of an envelope that a run of rows shares. Made by `Encoder.block`, opaque to everybody else."""

    plain: bytes
    """What stands between the row and the commit sequence when every column is there."""
    source: bytes
    """The same without the empty list of unavailable columns."""
    tail: bytes
    """What stands after the commit sequence."""
    high: int = -1
    """The high bits of the sequence that `end` is for."""
    end: bytes = field(default=b"", repr=False)
    """The high part of the sequence, as written, and the tail."""


class Facts(NamedTuple):
    """What the envelope says of a change besides its rows."""

    seq: int
    """The commit sequence."""
    ts_us: int
    """When capture handled the change, microseconds since the epoch."""
    source_ts_us: int
    """When the source committed it, by the source's clock."""
    txid: int | None
    lsn: int | None
    snapshot: str
    """`false` for changes from the log; `true`, `last` and others for rows of the full load."""
    schema_version: int


Functions = Mapping[str, Any]
"""Compiled functions, by the name of the method that returns them, and `source_text`."""


class Registered(NamedTuple):
    """A schema text and its id; both None where the format has none."""

    schema_id: int | None
    text: str | None


class SchemaIds(NamedTuple):
    """The ids of Avro schemas as a registry has given them."""

    key: int | None
    """None for a table without a key."""
    value: int


class Encoder:
    """Writes the records of one table version.

    The functions are generated and compiled when one of them is first asked for: a replication of thousands of tables
    starts without. Values that are not canonical for their column's type raise INVARIANT: sources check what they
    deliver.
    """

    def __init__(
        self,
        table: TableSchema,
        format_: Format,
        keys: Registered,
        values: Registered,
        compile_: Callable[[], Functions],
    ) -> None:
        self.table = table
        self.format = format_
        self.key_schema_id = keys.schema_id
        """The id that keys carry (Avro with a key; else None)."""
        self.value_schema_id = values.schema_id
        """The id that values carry (Avro; else None)."""
        self.key_schema_text = keys.text
        """The Avro schema of keys, canonical JSON text (Avro with a key; else None)."""
        self.value_schema_text = values.text
        """The Avro schema of values, canonical JSON text (Avro; else None)."""
        self._compile = compile_
        self._logged: tuple[LoggedForm, Callable[..., tuple[list[Pair], int]] | None] | None = None
        self._copied: tuple[CopiedForm, Callable[[list[bytes]], Bundle] | None] | None = None

    @cached_property
    def _functions(self) -> Functions:
        return self._compile()

    @cached_property
    def source_text(self) -> str:
        """The generated Python source."""
        return str(self._functions["source_text"])

    @cached_property
    def key(self) -> Callable[[Row], bytes | None]:
        """Encode the key of a whole row; None for a table without a key."""
        return self._functions["key"]  # type: ignore[no-any-return]

    @cached_property
    def body(self) -> Callable[[Row], bytes]:
        """Encode a whole row as it stands in `before` or `after`. No value may be UNCHANGED."""
        return self._functions["body"]  # type: ignore[no-any-return]

    @cached_property
    def rows(self) -> Callable[[Sequence[Row]], Encoded]:
        """`rows(rows)`: the keys and the bodies of many whole rows."""
        return self._functions["rows"]  # type: ignore[no-any-return]

    def loaded(self, rows: Sequence[Row]) -> Bundle:
        """Do what `rows` does, in one piece; rows that are unread are encoded from what the source sent, by the
        compiled twin.
        """
        if not isinstance(rows, UnreadRows) or rows.is_read:
            return Bundle.of(*self.rows(rows))
        if self._copied is None or rows.form is not self._copied[0]:
            self._copied = rows.form, self._functions["copied_by_twin"](rows.form)
        write = self._copied[1]
        return Bundle.of(*self.rows(rows)) if write is None else write(rows.packets)

    @cached_property
    def unbody(self) -> Callable[[bytes], Row]:
        """Decode what `body` wrote. Raises DECODE."""
        return self._functions["unbody"]  # type: ignore[no-any-return]

    @cached_property
    def run(self) -> Callable[[RowChanges, Block, int, bool], tuple[list[Pair], int]]:
        """`run(changes, block, seq, tombstones)`: the records of a run of changes, and the last commit sequence used.

        The first record gets `seq + 1`. A change of the key becomes a delete of the old key and a create of the new
        one, with a sequence each. A tombstone, if asked for, follows each delete and has no sequence. Columns that are
        UNCHANGED are named in `unavailable`.
        """
        return self._functions["run"]  # type: ignore[no-any-return]

    def records(self, changes: RowChanges, block: Block, seq: int, tombstones: bool) -> tuple[list[Pair], int]:
        """Do what `run` does; changes that are unread are encoded from the log's own messages, by one function."""
        form = changes.form
        if form is None or not changes.messages:
            return self.run(changes, block, seq, tombstones)
        write = self._writer(form)
        if write is None:
            changes.read()
            return self.run(changes, block, seq, tombstones)
        try:
            return write(changes.messages, block, seq, tombstones)
        except TailraceError as error:
            changes.place(error)
            raise

    def joined(
        self, changes: SmallTransactions, now_us: int, seq: int, tombstones: bool
    ) -> tuple[list[Pair], int] | None:
        """Do what `records` does of many transactions, each with a block of its own; None where they are to be taken
        apart: rows must be read, or one of them is in error.
        """
        write, make_block = self._writer(changes.form), self._functions["make_block"]
        if write is None:
            return None
        pairs: list[Pair] = []
        try:
            for message, (commit, ts_us, xid, _) in zip(changes.messages, changes.facts, strict=True):
                made, seq = write([message], make_block("false", commit, ts_us, xid or None, now_us), seq, tombstones)
                pairs += made
        except TailraceError:
            return None
        return pairs, seq

    def _writer(self, form: LoggedForm) -> Callable[..., tuple[list[Pair], int]] | None:
        if self._logged is None or form is not self._logged[0]:
            made = self._functions["logged_by_twin"](form) or self._functions["logged_by_python"](form)
            self._logged = form, made
        return self._logged[1]

    @cached_property
    def read(self) -> Callable[[bytes, Block, int], bytes]:
        """`read(body, block, seq)`: the envelope, with op `r`, of a row that `body` encoded."""
        return self._functions["read"]  # type: ignore[no-any-return]

    @cached_property
    def read_many(self) -> Callable[[list[tuple[bytes | None, bytes]], Block, int], tuple[list[Pair], int]]:
        """`read_many([(key, body), …], block, seq)`: the records of many such rows, and the last sequence used."""
        return self._functions["read_many"]  # type: ignore[no-any-return]

    def read_bundle(self, rows: Bundle, block: Block, seq: int) -> tuple[RecordBundle, int]:
        """Do what `read_many` does, later: when records are handed over."""
        around = Around(self._functions["read_head"], block.plain, block.tail, self.format is not Format.AVRO)
        made = RecordBundle(rows, around, seq, lambda some, last: self.read_many(some, block, last)[0])
        return made, seq + len(rows)

    @cached_property
    def truncate(self) -> Callable[[Block, int], bytes]:
        """`truncate(block, seq)`: the envelope of a truncate; its record has no key and goes to every partition."""
        return self._functions["truncate"]  # type: ignore[no-any-return]

    @cached_property
    def placed(self) -> Callable[[Iterable[Pair], str, int, int], list[Pair]]:
        """`placed(pairs, id, total, order)`: the records of a run with the envelope's `transaction`.

        `total` and `order` are those of the event before the run, in its transaction and in its table there. Tombstones
        stay as they are.
        """
        return self._functions["placed"]  # type: ignore[no-any-return]

    def block(self, *, snapshot: str, position_lsn: int, ts_us: int, txid: int | None, now_us: int) -> Block:
        """Return the part of the envelope that the rows of a run share.

        `snapshot` is `false` for the log, `true` (or `first`, `last`, `incremental`) for the full load; `ts_us` is the
        commit time by the source's clock, `now_us` the time of processing; both are microseconds since the epoch.
        """
        made: Block = self._functions["make_block"](snapshot, position_lsn, ts_us, txid, now_us)
        return made


class Decoder:
    """Reads the records of one table version. Whatever the bytes, the only error is DECODE.

    Compiled when one of its functions is first asked for.
    """

    def __init__(self, table: TableSchema, format_: Format, compile_: Callable[[], Functions]) -> None:
        self.table = table
        self.format = format_
        self._compile = compile_
        self._staged: tuple[StagedForm, Callable[[list[bytes]], list[Staged]]] | None = None

    @cached_property
    def _functions(self) -> Functions:
        return self._compile()

    @cached_property
    def source_text(self) -> str:
        """The generated Python source."""
        return str(self._functions["source_text"])

    @cached_property
    def decode(self) -> Callable[[bytes], Decoded]:
        """Decode one value.

        Columns that `unavailable` names are UNCHANGED in `after` (in `before`, if it is a delete); in the `before` of a
        table without whole old rows, all columns but the key's are.
        """
        return self._functions["decode"]  # type: ignore[no-any-return]

    @cached_property
    def decode_many(self) -> Callable[[list[bytes]], list[Decoded]]:
        """Decode many values (no tombstones among them)."""
        return self._functions["decode_many"]  # type: ignore[no-any-return]

    @property
    def stages(self) -> bool:
        """Whether there is `staged`."""
        return "staged" in self._functions

    def staged(self, values: list[bytes], form: StagedForm) -> list[Staged]:
        """Decode many values; of each whole new row `form` makes what is to be staged, in one function, and the old one
        beside it is left out.
        """
        if self._staged is None or form != self._staged[0]:
            self._staged = form, self._functions["staged"](form)
        return self._staged[1](values)

    @cached_property
    def decode_key(self) -> Callable[[bytes], Row]:
        """Decode a key to the values of the key's columns, in key order."""
        return self._functions["decode_key"]  # type: ignore[no-any-return]

    @cached_property
    def facts(self) -> Callable[[bytes], Facts]:
        """Read what stands besides the rows. Slower than `decode`."""
        return self._functions["facts"]  # type: ignore[no-any-return]

    @cached_property
    def facts_many(self) -> Callable[[list[bytes]], list[Facts]]:
        """The same for many values: much faster, where many are of one source transaction."""
        many: Callable[[list[bytes]], list[Facts]] | None = self._functions.get("facts_many")
        return many or (lambda values: [*map(self.facts, values)])
