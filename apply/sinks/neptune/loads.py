"""The full load by files: rows are gathered in the bucket, and read from there by Neptune's bulk loader.

The loader has no conditions and goes on by itself, so nobody else may write these rows meanwhile, and nobody may load
them later. Three things see to it.

* Files are there before a load is asked for, and gone before anything else is done to their rows. Whoever takes a
  partition over claims it when it is assigned, and before its first row of a table is written loads what its earlier
  owner has left of it, removes the files, and waits for loads that go on. An earlier owner finds its claim lost,
  whatever it comes to next; if it had looked just before, its load finds no files, and it removes none of others. What
  it writes after that has never been asked for: whoever takes over next removes it unread.
* A row that is loaded has the sequence before its own: if only a part of it has come, it is written again.
* Rows are loaded as long as the table was empty when it was first met, and its load has not ended; a change of a row
  that waits to be loaded waits for that.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from apply.sink import TableBatch, TopicPartition
from apply.sink_kinds.guarded import sequence_of
from apply.sinks.neptune.client import Client
from apply.sinks.neptune.control import ControlVertices, kept_by
from apply.sinks.neptune.elements import Change, Elements
from apply.sinks.neptune.load_files import ENDS_HEADER, FileForm, Line, can_load, line_of
from apply.sinks.neptune.loader import Loader, Refusal
from apply.sinks.neptune.staging import Staged, Staging, part_of_partition, part_of_table
from runtime.logging import get_logger
from schemas.endpoints.neptune import NeptuneTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.per_table import PerTable
from schemas.table import TableName, TableSchema

log = get_logger(__name__)

KB = 1024
ROWS_MAX = 250_000
"""Rows of one load, whose keys are remembered until it has ended: some 25 MB."""


class _Left(NamedTuple):
    """A load of this process that was given up."""

    name: str
    was_asked_for: bool


class _Load:
    """What is gathered for one load."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.was_asked_for = False
        self.keys: dict[TableName, set[str]] = {}
        self.tables: dict[TableName, TableSchema] = {}
        self.partitions: dict[TableName, set[TopicPartition]] = {}
        self.row_count = self.byte_count = self.file_count = 0


class Loads:
    """The loads of one sink."""

    def __init__(
        self,
        client: Client,
        control: ControlVertices,
        target: NeptuneTarget,
        owner: tuple[str, str],
        elements: Callable[[TableSchema], Elements],
        is_empty: Callable[[TableSchema], bool],
    ) -> None:
        """`owner`: the replication and the target."""
        self._control = control
        self._bytes_max = target.max_file_size * KB
        self._staging = Staging(target, *owner)
        self._loader = Loader(client, target)
        self._is_empty = is_empty
        self._forms = PerTable(lambda table: [FileForm(e) for e in elements(table).all if can_load(e)])
        self._me = uuid.uuid4().hex
        self._number = 0
        self._load: _Load | None = None
        self._left: list[_Left] = []
        self._claimed: set[TopicPartition] = set()
        """Ours, as far as is known."""
        self._settled: set[tuple[TableName, TopicPartition]] = set()
        """Where earlier owners have left nothing."""
        self._ended: set[TableName] = set()
        """Tables whose rows go by Gremlin."""

    def claim(self, partitions: Collection[TopicPartition]) -> None:
        """Take partitions over from whoever had them. Raises INVARIANT where some were claimed before, and belong to
        another applier by now: the group may be about to say so. If it does not, they are claimed the next time.
        """
        self._forget_settled(partitions)
        again = self._claimed.intersection(partitions)
        self._claimed -= again
        self._check(again)
        self._control.claim(partitions, self._me)
        self._claimed.update(partitions)

    def settle(self, table: TableSchema, partitions: Iterable[TopicPartition]) -> None:
        """Finish what is left of loads, so that a table's rows of these partitions can be written."""
        while self._left:
            self._finish_left(self._left[-1])
            self._left.pop()
        new = {p for p in partitions if (table.name, p) not in self._settled}
        if not new:
            return
        if unclaimed := new - self._claimed:
            self.claim(unclaimed)
        is_empty = self._control.loading(table.name) is None and self._is_empty(table)
        known = self._control.note(table, is_empty)
        self._take_over(table.name, {p: str(known.get(kept_by(p), "")) for p in new})
        self._control.keep(table.name, sorted(new), self._me)
        self._settled.update((table.name, partition) for partition in new)

    def take_in(self, batch: TableBatch, elements: Elements) -> Collection[int]:
        """Gather the rows of a full load; return which of `upserts` these are.

        What waits to be loaded is loaded first where the batch has another row or change of it.
        """
        table, kinds = batch.table, ("upserts", "updates", "deletes")
        self.settle(table, {origin.partition for kind in kinds for origin in batch.origins[kind]})
        keys = [elements.keys.of_row(row) for row in batch.upserts]
        touched = [*map(elements.keys.of_row, batch.updates), *map(elements.keys.of_key, batch.deletes), *keys]
        if self._load is not None and not self._load.keys.get(table.name, set()).isdisjoint(touched):
            self.finish()
        # The service gives deletes first, with the origins of all.
        origins = batch.origins["upserts"][: len(batch.upserts)]
        reads = [i for i, origin in enumerate(origins) if batch.fresh or origin.op == "r"]
        if not reads or not self._forms(table) or not self._is_loading(table):
            return ()
        return self._gather(batch, reads, keys)

    def finish(self) -> None:
        """Load what is gathered; then it is durable. Raises INVARIANT where a partition has another owner by now."""
        load = self._load
        if load is None:
            return
        if not load.file_count:
            # None of these rows is an element: the loader refuses a folder that is not there.
            self._load = None
            return
        self._check({p for partitions in load.partitions.values() for p in partitions})
        load.was_asked_for = True
        refusal = self._loader.run(self._staging.url(load.name))
        if refusal is not None:
            # Nothing of it is asked for any more: what has come of its rows is written again by Gremlin.
            load.was_asked_for = False
            self._end_refused(refusal, load.tables.values())
            raise TailraceError(
                ErrorKind.TARGET_CONNECTION,
                f"Neptune's loader does not take the files ({', '.join(refusal.codes)}): rows go by Gremlin",
                remedy="see the loader's status for what it found; rows that Neptune does not take are parked",
            )
        self._staging.remove([*self._staging.files(load.name)])
        self._load = None

    def abandon(self) -> None:
        """Give up what is gathered. Its files go before anything else is written."""
        if self._load is not None:
            self._left.append(_Left(self._load.name, self._load.was_asked_for))
            self._load = None

    def release(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget partitions that were taken away."""
        gone = set(partitions)
        self._claimed -= gone
        self._forget_settled(gone)

    def end(self, table: TableSchema) -> None:
        """Let rows that are read once more go by Gremlin: others are there by now."""
        self._ended.add(table.name)
        self._control.end_load(table)

    def settle_all(self, tables: Sequence[TableSchema]) -> None:
        """Finish what anybody has left of loads of tables, which nobody writes to."""
        for table in tables:
            self.settle(table, ())
            self._take_over(table.name)

    def begin_again(self, tables: Sequence[TableSchema]) -> None:
        """Let rows of tables that are empty now be loaded."""
        for table in tables:
            self._control.begin_load(table)
            self._ended.discard(table.name)

    def close(self) -> None:
        """Remove the files of what was not asked for, if that can be; let the connection go."""
        self.abandon()
        with contextlib.suppress(TailraceError):
            for left in self._left:
                if not left.was_asked_for:
                    self._finish_left(left)
        self._left.clear()
        self._staging.close()

    def _gather(self, batch: TableBatch, reads: Sequence[int], keys: Sequence[str]) -> set[int]:
        lines: dict[tuple[TopicPartition, int], list[Line]] = {}
        ends: dict[TopicPartition, dict[tuple[bytes, bytes], None]] = {}
        forms, origins, taken = self._forms(batch.table), batch.origins["upserts"], set[int]()
        for i in reads:
            row, partition = batch.upserts[i], origins[i].partition
            change = Change(keys[i], sequence_of(batch, "upserts", i) - 1, 0)
            try:
                made = [(number, form.line(row, change), form.ends(row)) for number, form in enumerate(forms)]
            except ValueError:
                # Gremlin says it, or why it cannot be said.
                continue
            taken.add(i)
            for number, line, its_ends in made:
                if line is not None:
                    lines.setdefault((partition, number), []).append(line)
                    ends.setdefault(partition, {}).update(dict.fromkeys(its_ends))
        if not taken:
            return taken
        load = self._load or self._new()
        for (partition, number), some in lines.items():
            self._put(load, batch.table, partition, forms[number].header + b"".join(map(line_of, some)))
        for partition, pairs in ends.items():
            if pairs:
                self._put(load, batch.table, partition, ENDS_HEADER + b"".join(map(line_of, pairs)))
        load.tables[batch.table.name] = batch.table
        load.keys.setdefault(batch.table.name, set()).update(keys[i] for i in taken)
        load.partitions.setdefault(batch.table.name, set()).update(origins[i].partition for i in taken)
        load.row_count += len(taken)
        if load.row_count >= ROWS_MAX or load.byte_count >= self._bytes_max:
            self.finish()
        return taken

    def _new(self) -> _Load:
        self._number += 1
        self._load = _Load(f"{self._me}-{self._number}")
        return self._load

    def _put(self, load: _Load, table: TableSchema, partition: TopicPartition, content: bytes) -> None:
        load.file_count += 1
        self._staging.put(load.name, table.name, partition, f"{load.file_count}.csv", content)
        load.byte_count += len(content)

    def _is_loading(self, table: TableSchema) -> bool:
        """Tell whether rows that are read may be loaded, asked anew for each load."""
        name = table.name
        if name in self._ended:
            return False
        if self._load is not None and name in self._load.keys:
            return True
        found = self._control.loading(name) or {}
        is_loading = bool(found.get("empty")) and "ended" not in found and found.get("version") == table.version
        if not is_loading:
            self._ended.add(name)
        return is_loading

    def _forget_settled(self, partitions: Collection[TopicPartition]) -> None:
        self._settled = {each for each in self._settled if each[1] not in partitions}

    def _check(self, partitions: Collection[TopicPartition]) -> None:
        lost = self._control.lost(partitions, self._me) if partitions else ()
        if lost:
            self._forget_settled(lost)
            raise TailraceError(
                ErrorKind.INVARIANT,
                f"partition {lost[0].partition} of {lost[0].topic} belongs to another applier by now",
            )

    def _finish_left(self, left: _Left) -> None:
        files = [*self._staging.files(left.name)]
        if left.was_asked_for and files:
            self._run_again([self._staging.url(left.name)])
        self._staging.remove(files)
        if left.was_asked_for:
            # A request whose answer was lost may have come late.
            self._loader.wait_for_others(self._staging.url(left.name))

    def _take_over(self, table: TableName, kept: Mapping[TopicPartition, str] | None = None) -> None:
        """Load and remove what others have left of a table, or of partitions alone: `kept` has the last owner of each.

        Rows in files of anybody else are older than what was written since: these are removed unread.
        """
        loads: dict[str, list[Staged]] = {}
        late: list[Staged] = []
        folder = part_of_table(table)
        owners = {part_of_partition(partition): owner for partition, owner in (kept or {}).items()}
        for file in self._staging.files():
            owner = file.load.rpartition("-")[0]
            if file.table != folder or owner == self._me or (kept is not None and file.partition not in owners):
                continue
            if kept is None or owner == owners[file.partition]:
                loads.setdefault(file.load, []).append(file)
            else:
                late.append(file)
        if loads or late:
            # Only now: what was found is not from somebody who has taken over from us.
            self._check(kept or ())
        self._staging.remove(late)
        for load, files in loads.items():
            log.info("load of an earlier applier finished", table=str(table), files=len(files))
            parts = sorted({(file.table, file.partition) for file in files})
            self._run_again([self._staging.url(load, *part) for part in parts])
            self._staging.remove(files)
            self._loader.wait_for_others(self._staging.url(load))

    def _run_again(self, sources: Iterable[str]) -> None:
        """Load files that may have been loaded. What they hold is given again, too: a refusal is not the last word."""
        for source in sources:
            refusal = self._loader.run(source)
            if refusal is not None:
                log.warning("files of an earlier load are not taken", codes=list(refusal.codes))

    def _end_refused(self, refusal: Refusal, tables: Collection[TableSchema]) -> None:
        named = [t for t in tables if any(f"/{part_of_table(t.name)}/" in file for file in refusal.files)]
        for table in named or tables:
            self.end(table)
