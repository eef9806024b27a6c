"""The DynamoDB sink: an item for each row, with the commit sequence of its last change in an attribute of its own.

A change is a transaction of two actions: the item is written on condition that it is not as new, and what is known of a
deleted item of the same key, in the control table, is asked likewise. So what comes again overwrites nothing that is
newer, and brings back nothing that is gone. Rows of a full load into an empty table ask for no deletions. Every
transaction asks for the claims of its partitions as well (`fences`): an applier that has lost one writes nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

from apply.sink import Arrival, Rejection, TableBatch, TopicPartition
from apply.sink_kinds.guarded import GuardedSink, needs_key, rejection, sequence_of
from apply.sinks.dynamodb.client import TRANSACTION_ACTIONS_MAX, TRANSACTION_BYTES_MAX, Client, Write, deletions
from apply.sinks.dynamodb.control import SEQUENCE, ControlTable
from apply.sinks.dynamodb.fences import FENCE_SIZE, Fences
from apply.sinks.dynamodb.items import Item, Items, Paths
from apply.sinks.dynamodb.tables import Tables, key_difference
from apply.sinks.dynamodb.values import ITEM_BYTES_MAX, Attribute, item_size
from schemas.endpoints.dynamodb import DynamodbTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.mappings.object_rule import ObjectMappingRule
from schemas.per_table import PerTable
from schemas.table import TableName, TableSchema

T = TypeVar("T")
R = TypeVar("R")

OPERATORS_MAX = 300
"""Of an update expression. Developer guide, "Quotas": Expression parameters."""

CONTROL_SIZE = 200
"""Bytes of an item of the control table, about."""


class _Made(NamedTuple):
    """What is made of a row."""

    place: int
    key: Item
    known: Paths
    item: Item
    """All of it, with its commit sequence."""
    size: int


class DynamodbSink(GuardedSink):
    """One account's tables, as one appliers' process sees them."""

    def __init__(
        self,
        replication: str,
        target_name: str,
        target: DynamodbTarget,
        rules: Sequence[ObjectMappingRule] = (),
        *,
        drops: bool = False,
    ) -> None:
        """`drops`: whether `drop` is ever called."""
        self._target = target
        self._client = Client(target)
        self._tables = Tables(self._client, target, drops=drops)
        self._control = ControlTable(
            self._client, self._tables, target.control_table, f"{replication}/{target_name}", target.deleted_kept_s
        )
        super().__init__(self._control)
        self._fences = Fences(self._client, self._control.name, self._control.claim_key)
        self._stand_at: dict[str, set[TopicPartition]] = {}
        """The partitions of this process at each barrier that has not been passed."""
        sequence = target.sequence_attribute
        self._items = PerTable(lambda table: Items(table, rules, target.table_name, sequence))
        self._found_empty: dict[TableName, bool] = {}
        """Whether a table was empty when this process first wrote to it, and has had nothing but a load since."""
        self._pool: ThreadPoolExecutor | None = None

    def load_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """See `Sink`. Whoever had these partitions may have written since tables were found empty, and does no more."""
        self._control.make()
        self._each(self._fences.claim, [*partitions])
        self._found_empty.clear()
        return super().load_offsets(partitions)

    def release(self, partitions: Sequence[TopicPartition]) -> None:
        """See `Sink`. Their claims are still asked for: what is under way of them is to be refused."""
        for standing in self._stand_at.values():
            standing.difference_update(partitions)

    def arrive(self, barrier: str, partition: TopicPartition, partition_count: int) -> Arrival:
        """See `Sink`."""
        self._stand_at.setdefault(barrier, set()).add(partition)
        arrival = super().arrive(barrier, partition, partition_count)
        if arrival is Arrival.PASSED:
            # By another process.
            self._stand_at.pop(barrier, None)
        return arrival

    def flush(self) -> None:
        """See `Sink`."""
        passed = [*self._passing]
        super().flush()
        for barrier in passed:
            self._stand_at.pop(barrier, None)

    def prepare(self, table: TableSchema) -> None:
        """Make the table's table unless it is there. Raises TARGET_SCHEMA if its key is another one."""
        needs_key(table, "an item")
        items = self._items(table)
        self._control.make()
        found = self._tables.make(items.name, items.key)
        if different := key_difference(found, items.key):
            raise TailraceError(
                ErrorKind.TARGET_SCHEMA,
                f"the table {items.name} is there, and {different}",
                table=str(table.name),
                remedy="delete it, or set `table_name`",
            )
        self._tables.protect(items.name, found)
        self._know(table)

    def is_empty(self, table: TableSchema) -> bool:
        """Tell whether the table has no item."""
        name = self._items(table).name
        return not self._client.call("scan", TableName=name, ConsistentRead=True, Limit=1)["Items"]

    def apply(self, batch: TableBatch) -> list[Rejection]:
        """Write a batch; return the rows that DynamoDB does not take. What was written is durable."""
        rejections: list[Rejection] = []
        items = self._items(batch.table)
        with _said_of(batch.table):
            if batch.fresh and batch.table.name not in self._found_empty:
                self._found_empty[batch.table.name] = self.is_empty(batch.table)
            is_load = batch.fresh and self._found_empty[batch.table.name]
            self._found_empty[batch.table.name] = is_load
            writes = [*self._deletes(batch, items, rejections)]
            for kind in ("upserts", "updates"):
                writes += self._changes(batch, items, kind, rejections, is_load=is_load)
            refused = self._write(writes)
            rejections += [_not_taken(batch.table, write.kind, write.index) for write in refused]
        return rejections

    def truncate(self, tables: Sequence[TableSchema]) -> None:
        """Delete every item, as the owner of the partition that stands at the barrier. Everybody waits meanwhile."""
        partition = self._standing()
        for table in tables:
            items = self._items(table)
            for page in self._tables.keys(items):
                self._write(deletions(items.name, page, partition))
            self._found_empty[table.name] = False

    def drop(self, table: TableSchema) -> None:
        """Delete the table, as the owner of a partition that stands at the barrier (`Tables`)."""
        partition = self._standing()
        self._tables.drop(self._items(table).name, lambda: self._fences.ask(partition))
        self._newest.pop(table.name, None)
        self._found_empty.pop(table.name, None)

    def complete_load(self, table: TableSchema) -> None:
        """See `Sink`. Secondary indexes of relational tables have no counterpart."""

    def close(self) -> None:
        """Close the connection."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        self._client.close()

    def _standing(self) -> TopicPartition:
        """Return a partition that stands at the barrier whose work is done. Whoever claims it has the work then."""
        standing = self._stand_at.get(self._passing[-1]) if self._passing else None
        if not standing:
            raise TailraceError(ErrorKind.INVARIANT, "a table is emptied or dropped, and no partition waits for it")
        return min(standing)

    def _items_of(self, batch: TableBatch, items: Items, kind: str, rejections: list[Rejection]) -> Iterator[_Made]:
        """Yield what is made of each row that is not refused."""
        attribute = self._target.sequence_attribute
        for i, row in enumerate(getattr(batch, kind)):
            key, wrong = items.key_of(row)
            if wrong:
                rejections.append(rejection(batch.table, kind, i, wrong))
                continue
            try:
                known = items.attributes(row)
                item = items.item(known)
                item.update(key)
                item[attribute] = {"N": str(sequence_of(batch, kind, i))}
                size = item_size(item)
            except ValueError as error:
                # Of a text that is no JSON the parser quotes nothing but the place; of one that is no Unicode, half
                # of a surrogate pair in a document, the size tells.
                rejections.append(rejection(batch.table, kind, i, str(error)))
                continue
            if _fits(batch.table, kind, i, size, rejections):
                yield _Made(i, key, known, item, size)

    def _deletes(self, batch: TableBatch, items: Items, rejections: list[Rejection]) -> Iterator[Write]:
        for i, values in enumerate(batch.deletes):
            key, wrong = items.key_of(items.row_of_key(values))
            if wrong:
                rejections.append(rejection(batch.table, "deletes", i, wrong))
                continue
            seq = sequence_of(batch, "deletes", i)
            memory = self._control.deleted(self._control.deleted_key(items.name, key), seq)
            actions = [
                {"Delete": {"TableName": items.name, "Key": key, **_older(self._target.sequence_attribute, seq)}},
                # The same deletion once more: its item may have been loaded again in between.
                {"Put": {"TableName": self._control.name, "Item": memory, **_older(SEQUENCE, seq, or_same=True)}},
            ]
            partition = batch.origins["deletes"][i].partition
            yield Write("deletes", i, actions, item_size(key) + CONTROL_SIZE, partition)

    def _changes(
        self, batch: TableBatch, items: Items, kind: str, rejections: list[Rejection], *, is_load: bool
    ) -> Iterator[Write]:
        whole = kind == "upserts" and (self._is_whole(batch.table) or items.nests)
        for made in self._items_of(batch, items, kind, rejections):
            if whole:
                yield self._guarded(batch, items, kind, made, "Put", {"Item": made.item}, is_load=is_load)
            elif len(made.known) >= OPERATORS_MAX:
                message = f"{len(made.known)} columns are known of a row; DynamoDB changes {OPERATORS_MAX} at once"
                rejections.append(rejection(batch.table, kind, made.place, message))
            else:
                update = self._update(made.key, made.known, made.item)
                yield self._guarded(batch, items, kind, made, "Update", update, is_load=False)

    def _update(self, key: Item, known: Paths, item: Item) -> dict[str, Any]:
        """Return what writes some attributes of an item, and leaves the others."""
        names: dict[str, str] = {}
        values: dict[str, Attribute] = {}
        sets, removes = list[str](), list[str]()

        def alias(name: str) -> str:
            return names.setdefault(name, f"#{len(names)}")

        sequence = self._target.sequence_attribute
        for path, attribute in {**known, (sequence,): item[sequence]}.items():
            if path[0] in key:
                continue
            place = ".".join(map(alias, path))
            if attribute is None:
                removes.append(place)
                continue
            values[f":{len(values)}"] = attribute
            sets.append(f"{place} = :{len(values) - 1}")
        expression = "set " + ", ".join(sets) + (" remove " + ", ".join(removes) if removes else "")
        return {
            "Key": key,
            "UpdateExpression": expression,
            "ExpressionAttributeNames": {short: name for name, short in names.items()},
            "ExpressionAttributeValues": values,
        }

    def _guarded(
        self,
        batch: TableBatch,
        items: Items,
        kind: str,
        made: _Made,
        action: str,
        request: dict[str, Any],
        *,
        is_load: bool,
    ) -> Write:
        """Return what is done if nothing newer is there: neither the item, nor its deletion."""
        origin = batch.origins[kind][made.place]
        guard = _older(self._target.sequence_attribute, origin.seq)
        if kind == "updates":
            # A part of a row does not bring one back that is gone: then its deletion needs not be asked for.
            guard["ConditionExpression"] = "#seq < :seq"
        for member in ("ExpressionAttributeNames", "ExpressionAttributeValues"):
            guard[member].update(request.get(member, {}))
        actions: list[dict[str, Any]] = [{action: {"TableName": items.name, **request, **guard}}]
        # Of a table that was empty when its partitions were claimed, and has had nothing but a load since, no deletion
        # is known, but from owners whose changes come again behind this load.
        if kind == "upserts" and not is_load:
            memory = {"TableName": self._control.name, "Key": self._control.deleted_key(items.name, made.key)}
            actions.append({"ConditionCheck": {**memory, **_older(SEQUENCE, origin.seq)}})
        return Write(kind, made.place, actions, made.size + CONTROL_SIZE, origin.partition)

    def _write(self, writes: list[Write]) -> list[Write]:
        """Send transactions, several at a time: no two of them are about one item. Return what is refused."""
        return [refused for result in self._each(self._transact, [*_transactions(writes)]) for refused in result]

    def _transact(self, writes: list[Write]) -> list[Write]:
        with self._fences.asked(writes) as checks:
            return self._client.transact(writes, checks)

    def _each(self, do: Callable[[T], R], groups: list[T]) -> list[R]:
        """Return what requests came to, several at a time. Where one raises, none is under way any more: it could
        write after what comes next.
        """
        if len(groups) < 2:
            return [*map(do, groups)]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._target.parallel_apply_threads, "dynamodb")
        under_way = [self._pool.submit(do, group) for group in groups]
        _, left = wait(under_way, return_when=FIRST_EXCEPTION)
        wait([future for future in left if not future.cancel()])
        # Begun in this order: the first that raised precedes those that were not begun.
        return [future.result() for future in under_way]


def _transactions(writes: list[Write]) -> Iterator[list[Write]]:
    """Yield rows in groups for one transaction each, with room for the claims that it asks for."""
    some: list[Write] = []
    partitions = set[TopicPartition]()
    actions = size = 0
    for write in sorted(writes, key=lambda w: w.partition):
        claims = write.partition not in partitions
        full = actions + len(write.actions) + claims > TRANSACTION_ACTIONS_MAX
        if some and (full or size + write.size + FENCE_SIZE > TRANSACTION_BYTES_MAX):
            yield some
            some, partitions, actions, size, claims = [], set(), 0, 0, True
        some.append(write)
        partitions.add(write.partition)
        actions += len(write.actions) + claims
        size += write.size + claims * FENCE_SIZE
    if some:
        yield some


def _older(attribute: str, seq: int, *, or_same: bool = False) -> dict[str, Any]:
    """Return the condition that what is there, if anything, is older."""
    return {
        "ConditionExpression": f"attribute_not_exists(#seq) or #seq {'<=' if or_same else '<'} :seq",
        "ExpressionAttributeNames": {"#seq": attribute},
        "ExpressionAttributeValues": {":seq": {"N": str(seq)}},
    }


@contextmanager
def _said_of(table: TableSchema) -> Iterator[None]:
    """Let errors name the table."""
    try:
        yield
    except TailraceError as error:
        if error.kind is ErrorKind.TARGET_SCHEMA and error.table is None:
            error.table = str(table.name)
        raise


def _fits(table: TableSchema, kind: str, i: int, size: int, rejections: list[Rejection]) -> bool:
    # About: DynamoDB has the last word of what is near the limit.
    if size <= 2 * ITEM_BYTES_MAX:
        return True
    rejections.append(rejection(table, kind, i, f"an item of {size} bytes is too large: {ITEM_BYTES_MAX} are allowed"))
    return False


def _not_taken(table: TableSchema, kind: str, i: int) -> Rejection:
    message = (
        f"DynamoDB does not take the item: it is larger than {ITEM_BYTES_MAX} bytes, or has an index key that is no key"
    )
    return rejection(table, kind, i, message)
