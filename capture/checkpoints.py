"""Capture's memory: documents on the compacted checkpoints topic, written in the changes' own Kafka transactions.

| key | value |
|---|---|
| `"epoch"` | the epoch that a new life's commit sequence begins with; written by a reset |
| `"position"` | identity of the log, position, commit sequence, transactions that a snapshot may not see yet |
| `"tables"` | the table versions in force at that position, and tables that an applier has altered of late |
| `["load",S,T]` | a table's load: its state, generation and chunks |
| `["progress",S,T]` | which of the chunks are published |
| `"signals"` | up to where signals are obeyed, and what was answered |

Each document carries a `version` of its form (Invariant 2). Nothing else is kept anywhere: a capture that starts and
one that recovers run the same code.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import orjson

from capture.full_load.state import AGAIN_VERSION, LoadState, TableLoad
from capture.publishing.transactions import Transactions
from runtime.kafka.admin import Topics, TopicSpec
from runtime.kafka.compacted import read_all
from runtime.kafka.producer import TransactionalProducer
from schemas.changes import Transaction
from schemas.errors import ErrorKind, TailraceError
from schemas.position import EPOCH_MAX, Position, epoch_of, first_sequence
from schemas.settings import Settings
from schemas.table import TableName
from schemas.topics import checkpoints_topic

FORM_VERSION = 1

EPOCH_KEY = b'"epoch"'
POSITION_KEY = b'"position"'
TABLES_KEY = b'"tables"'
SIGNALS_KEY = b'"signals"'

Record = tuple[bytes, bytes | None]


@dataclass(slots=True)
class Checkpoint:
    """What a capture knows when it starts."""

    identity: dict[str, str] | None = None
    """None: this replication has never committed a position."""
    position: Position = field(default=Position(0))
    sequence: int = 0
    """The last commit sequence used."""
    transaction: dict[str, Any] | None = None
    """What is counted of a source transaction that a position is within."""
    earlier: list[Transaction] = field(default_factory=list)
    """Transactions published already that a snapshot may not see yet."""
    selection: list[str] | None = None
    """`source.tables` when a position within a transaction was committed."""
    versions: dict[TableName, int] = field(default_factory=dict)
    """The table versions in force."""
    marks: dict[TableName, str] = field(default_factory=dict)
    """What the source said of their log then: `Source.marks`."""
    applied: set[TableName] = field(default_factory=set)
    """Tables that an applier has altered, and of which the catalogue was not asked since."""
    plans: dict[TableName, dict[str, Any]] = field(default_factory=dict)
    progress: dict[TableName, dict[str, Any]] = field(default_factory=dict)
    signals: dict[str, Any] = field(default_factory=dict)
    """What `capture.signals` remembers."""

    @property
    def is_loaded(self) -> bool:
        """Whether tables are known, and every one is loaded."""
        return bool(self.plans) and all(plan["state"] == LoadState.LOADED for plan in self.plans.values())

    def transactions(self, *, metadata: bool) -> Transactions:
        """Return what counts the transactions from here on."""
        is_cut = bool(self.position.row)
        return Transactions(self.sequence, metadata=metadata, is_cut=is_cut, cut=self.transaction)


def transactional_id(replication: str) -> str:
    """Return the transactional id that fences captures of one replication against each other."""
    return f"{replication}.capture"


def topic_spec(settings: Settings) -> TopicSpec:
    """Return what the checkpoints topic must be."""
    # Small segments: the active one is never compacted, and every start reads it whole.
    config = {"segment.bytes": 16 << 20, "min.cleanable.dirty.ratio": 0.1}
    return TopicSpec(
        checkpoints_topic(settings.name), 1, "compact", config, replication_factor=settings.topics.replication_factor
    )


def read(settings: Settings) -> Checkpoint:
    """Read the checkpoint. To be called after the transactional id was claimed: nobody writes any more.

    Raises CONFIGURATION for documents of a later form.
    """
    return decode(read_all(settings.kafka, checkpoints_topic(settings.name)))


def decode(records: Mapping[bytes, bytes]) -> Checkpoint:
    """Return the checkpoint that the topic's latest records hold.

    Raises DECODE for a damaged record of ours, and CONFIGURATION for a later form. Other records are passed over.
    """
    checkpoint = Checkpoint()
    epoch = 1
    for key, value in records.items():
        try:
            epoch = _take(checkpoint, orjson.loads(key), value) or epoch
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise TailraceError(
                ErrorKind.DECODE,
                f"the checkpoint's record {key[:100].decode(errors='replace')} cannot be read",
                remedy="`tailrace reset` begins anew; never write to this topic by hand",
            ) from error
    if checkpoint.identity is None:
        checkpoint.sequence = first_sequence(epoch)
    return checkpoint


def _take(checkpoint: Checkpoint, key: Any, value: bytes) -> int | None:
    """Take in one record; return the epoch if it tells that."""
    match key:
        case "epoch":
            epoch = _document(value)["epoch"]
            if not isinstance(epoch, int) or not 1 <= epoch <= EPOCH_MAX:
                raise ValueError("no epoch")
            return epoch
        case "position":
            document = _document(value)
            checkpoint.identity = {str(name): str(text) for name, text in document["identity"].items()}
            commit, row, *texts = document["position"]
            if not all(isinstance(text, str) for text in texts):
                raise ValueError("no position")
            checkpoint.position = Position(_whole(commit), _whole(row), *texts)
            checkpoint.sequence = _whole(document["sequence"])
            checkpoint.selection = document.get("selection")
            checkpoint.transaction = _cut(document.get("transaction"))
            checkpoint.earlier = [
                Transaction(str(xid), _whole(xid), _whole(commit), 0) for xid, commit in document.get("unsettled", ())
            ]
        case "tables":
            document = _document(value)
            for schema, table, version, *mark in document["tables"]:
                checkpoint.versions[TableName(schema, table)] = _whole(version)
                checkpoint.marks.update({TableName(schema, table): str(text) for text in mark})
            checkpoint.applied = {TableName(str(schema), str(table)) for schema, table in document.get("applied", ())}
        case "signals":
            document = _document(value)
            answers = {str(identifier): str(answer) for identifier, answer in document.get("answers", {}).items()}
            checkpoint.signals = {"next": _whole(document.get("next", 0)), "answers": answers}
        case ["load", schema, table]:
            checkpoint.plans[TableName(schema, table)] = document = _document(value, AGAIN_VERSION)
            LoadState(document["state"])
        case ["progress", schema, table]:
            checkpoint.progress[TableName(schema, table)] = _document(value)
    return None


def _cut(document: Any) -> dict[str, Any] | None:
    """Return what is counted of a transaction that is cut, as `capture.publishing.transactions.Open` says it."""
    if document is None:
        return None
    tables = {str(table): _whole(count) for table, count in document["tables"].items()}
    return {"id": str(document["id"]), "commit": _whole(document["commit"]), "tables": tables}


def _whole(number: Any) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise ValueError("no whole number")
    return number


def position_record(
    identity: Mapping[str, str],
    position: Position,
    sequence: int,
    unsettled: Sequence[Transaction],
    selection: Sequence[str],
    transaction: Mapping[str, Any] | None = None,
) -> Record:
    """Return the record that says how far the log is published.

    Within a transaction it names the selection too: by it the changes were counted that are behind the position; and
    the counts that the transaction's END record will need, where such records are written.
    """
    document: dict[str, Any] = {
        "version": FORM_VERSION,
        "identity": identity,
        "position": position.to_document(),
        "sequence": sequence,
        "epoch": epoch_of(sequence),
    }
    if unsettled:
        document["unsettled"] = [[txn.xid, txn.commit] for txn in unsettled]
    if position.row:
        document["selection"] = list(selection)
        if transaction is not None:
            document["transaction"] = transaction
    return POSITION_KEY, orjson.dumps(document)


def tables_record(
    versions: Mapping[TableName, int], marks: Mapping[TableName, str], applied: Collection[TableName] = ()
) -> Record:
    """Return the record that says which table versions are in force, what their log's marks were, and which tables an
    applier has altered of late.
    """
    tables = [
        [*name, version, *((marks[name],) if name in marks else ())] for name, version in sorted(versions.items())
    ]
    document: dict[str, Any] = {"version": FORM_VERSION, "tables": tables}
    if applied:
        document["applied"] = [[*name] for name in sorted(applied)]
    return TABLES_KEY, orjson.dumps(document)


def plan_record(load: TableLoad) -> Record:
    """Return the record with a load's state and chunks."""
    return orjson.dumps(["load", *load.name]), orjson.dumps(load.plan_document())


def progress_record(load: TableLoad) -> Record:
    """Return the record that says which chunks are published."""
    return orjson.dumps(["progress", *load.name]), orjson.dumps(load.progress_document())


def load_tombstones(name: TableName) -> list[Record]:
    """Return the records that forget a table's load."""
    return [(orjson.dumps([kind, *name]), None) for kind in ("load", "progress")]


def reset(settings: Settings) -> list[str]:
    """Forget the position and the loads of a replication, and begin a new epoch. Return in words what was done.

    A running capture is fenced: it ends with an error. The next one starts as if there had been none, with commit
    sequences above all that were ever used.
    """
    topic = checkpoints_topic(settings.name)
    if not Topics(settings.kafka).exists(topic):
        return ["nothing to reset: there is no checkpoint"]
    with closing(TransactionalProducer(settings.kafka, transactional_id(settings.name))) as producer:
        producer.init()
        records = read_all(settings.kafka, topic)
        epoch = min(epoch_of(decode(records).sequence) + 1, EPOCH_MAX)
        producer.begin()
        for key in records:
            if key != EPOCH_KEY:
                producer.produce(topic, key, None)
        producer.produce(topic, EPOCH_KEY, orjson.dumps({"version": FORM_VERSION, "epoch": epoch}))
        producer.commit()
    return [f"forgot the position and the loads of {settings.name}", f"the next commit sequence is of epoch {epoch}"]


def _document(value: bytes, known: int = FORM_VERSION) -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads(value)
    if document["version"] > known:
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            f"the checkpoint was written in form {document['version']}, this release knows {known}",
            remedy="run the release that wrote it, or a later one",
        )
    return document


def check_selection(checkpoint: Checkpoint, patterns: Sequence[str]) -> None:
    """Raise CONFIGURATION if tables were selected otherwise in the middle of a transaction.

    The changes behind the position were counted over the tables that were selected then; for others the count is wrong.
    """
    if not checkpoint.position.row or checkpoint.selection in (None, list(patterns)):
        return
    raise TailraceError(
        ErrorKind.CONFIGURATION,
        "`source.tables` was changed while a transaction of the source is published in part",
        remedy=f"set it back to {checkpoint.selection}, run `tailrace capture run … --stop-at now`, then change it",
    )
