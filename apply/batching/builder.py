"""Makes batches: takes in records of many partitions, and collapses them to net changes.

A batch ends, for a partition, at a cut: a truncate, or a hold that something laid on the partition before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, cast

from apply.batching.batch import Batch, Cut, Record, Segment, by_partition
from apply.batching.first_changes import FirstChanges
from apply.batching.incomplete_inserts import IncompleteInserts
from apply.batching.net_change import Change, NetChanges
from apply.batching.parked_keys import ParkedKeys
from apply.batching.staged_rows import Staging, Stagings
from apply.batching.versions import Versions
from apply.error_handling.conflicts import NEVER, Boundaries
from apply.error_handling.parking import ParkingLot
from apply.sink import Origin, Sink, StreamingSink, TopicPartition
from runtime.kafka.reassembly import SpooledRecord
from schemas.codecs import Decoder
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableSchema

if TYPE_CHECKING:
    from apply.error_handling.superseded import Superseded
    from apply.error_handling.waiting import Waiting


class BatchBuilder:
    """Takes in records; `positions` (the next offset of each partition owned) move on with them."""

    def __init__(
        self,
        versions: Versions,
        positions: dict[TopicPartition, int],
        lot: ParkingLot,
        sink: Sink,
        waiting: Waiting | None = None,
        *,
        decode_policy: str = "stop",
    ) -> None:
        """Changes of `waiting` keys queue there."""
        self._history = sink.capabilities.history
        self._origins = sink.capabilities.origins
        is_referred = versions.catalog.is_referred if sink.capabilities.refers else lambda _name: False
        self._inserts = IncompleteInserts(is_referred)
        self._stagings = Stagings(sink)
        self._streaming = cast("StreamingSink", sink) if sink.capabilities.streams else None
        self._versions = versions
        self._catalog = versions.catalog
        self._positions = positions
        self._parked = ParkedKeys(lot, versions.catalog, keeps_history=self._history)
        self._waiting = waiting
        self._decode_policy = decode_policy
        self.boundaries: Boundaries | None = None
        """From where on conflicts with the target's rows are looked for; None: nowhere."""
        self.limits: Mapping[TopicPartition, Any] = {}
        """Holds (with an `offset`) that no batch may pass."""
        self.clean: set[TopicPartition] = set()
        """Partitions of which this process has seen the beginning, and nothing but rows of the full load."""
        self.superseded: Superseded | None = None
        self.truncates_in_place = False
        """Whether a batch holds all that precedes a truncate, in all partitions: then the truncate is part of it."""
        self.batch = Batch()
        self._floor: dict[TopicPartition, int] = {}
        self._truncates: dict[str, int] = {}
        self._truncates_met: dict[TopicPartition, int] = {}

    def take(self) -> Batch:
        """Return the batch, for the versions that the target is to have now, and begin the next one.

        Raises TARGET_SCHEMA where rows cannot be brought to such a version.
        """
        batch = self._begin({})
        for topic, segments in batch.segments.items():
            for segment in segments:
                # A newer version may have come since the segment was begun: its names, not the former ones, count.
                written = segment.net.table
                target = self._versions.target(topic, written.version)
                if target is not segment.target:
                    segment.target = target
                    segment.projection = self._versions.projection(written, target)
        return batch

    def _begin(self, offsets: dict[TopicPartition, int]) -> Batch:
        """Begin a batch that goes up to these offsets; return the one before it."""
        batch, self.batch = self.batch, Batch(next=offsets)
        self._stagings.begin()
        self._floor, self._truncates, self._truncates_met = {}, {}, {}
        return batch

    def add(self, records: Sequence[Record]) -> dict[TopicPartition, Cut]:
        """Take in records, each partition's in order. Return the partitions that must not go on for now.

        Records of partitions that are not owned, and such as were taken in before, are left out. Raises DECODE.
        """
        cuts: dict[TopicPartition, Cut] = {}
        for partition, group in by_partition(records).items():
            cut = self._add_group(partition, group)
            if cut is not None:
                cuts[partition] = cut
        return cuts

    def _add_group(self, partition: TopicPartition, records: list[Record]) -> Cut | None:
        position = self._positions.get(partition)
        if position is None:
            return None
        if records[0].offset() < position:
            records = [r for r in records if r.offset() >= position]
        cut: Cut | None = None
        limit = self.limits.get(partition)
        if limit is not None and records and records[-1].offset() >= limit.offset:
            records = [r for r in records if r.offset() < limit.offset]
            cut = Cut(limit.offset)
        if records:
            end = records[-1].offset() + 1
            late, records = ([], records) if self._waiting is None else self._waiting.part(partition.topic, records)
            found = self._take_in(partition, records)
            if found is not None:
                cut, end = found, found.offset
                late, records = ([r for r in group if r.offset() < end] for group in (late, records))
            if self._waiting is not None:
                self._waiting.extend(late)
            self._keep(partition, records)
            self.reach(partition, end)
        if cut is not None:
            self.reach(partition, cut.offset)
        return cut

    def _keep(self, partition: TopicPartition, records: list[Record]) -> None:
        if records:
            batch = self.batch
            batch.records.setdefault(partition, []).extend(records)
            batch.row_count += len(records)
            batch.byte_count += sum([len(r.value() or b"") for r in records])

    def again(self, records: Iterable[Record]) -> None:
        """Add records that were taken in before, whatever the positions: all that follow them of their keys are yet to
        come. Raises what keeps them from being written.
        """
        newest = dict(self.batch.last)
        for partition, group in by_partition(records).items():
            cut = self._take_in(partition, group)
            if cut is not None and cut.error is not None:
                raise cut.error
            self._keep(partition, group)
            self.batch.next.setdefault(partition, self._positions[partition])
        self.batch.last |= newest

    def part(self) -> None:
        """Take out of the batch in the making what belongs to keys that wait by now."""
        waiting = self._waiting
        assert waiting is not None, "somebody lets keys wait"
        parts = {p: waiting.part(p.topic, group) for p, group in self.batch.records.items()}
        if any(late for late, _ in parts.values()):
            self._begin(self.batch.next)
            for late, others in parts.values():
                waiting.extend(late)
                self.again(others)

    def reach(self, partition: TopicPartition, offset: int) -> None:
        """Move a partition's position on, never back: the batch goes up to there."""
        if offset > self._positions[partition]:
            self._positions[partition] = self.batch.next[partition] = offset

    def _take_in(self, partition: TopicPartition, records: list[Record]) -> Cut | None:
        if self.superseded:
            records = self.superseded.left(partition.topic, records, truncates=not self.truncates_in_place)
        if self._streaming is not None and SpooledRecord in set(map(type, records)):
            self._spooled(self._streaming, partition.topic, records)
        values = [r.value() for r in records]
        if None in values:
            # Tombstones are for compaction; the delete stood before them.
            records = [r for r in records if r.value() is not None]
            values = [r.value() for r in records]
        if not records:
            return None
        topic = partition.topic
        if self._parked.concern(self.batch, topic):
            return self._one_by_one(partition, records)
        done = 0
        try:
            marks = self._catalog.marks(topic, values, [r.key() for r in records])
            if len(marks) == 1:
                return self._run(partition, marks.pop(), records, values)
            for mark, run in groupby(records, lambda r: self._catalog.mark_of(topic, r.value(), r.key())):
                some = list(run)
                cut = self._run(partition, mark, some, [r.value() for r in some])
                if cut is not None:
                    return cut
                done += len(some)
        except TailraceError as error:
            if error.kind is not ErrorKind.DECODE:
                raise
            # A run is decoded whole before any of it is taken in: what follows `done` was not.
            return self._one_by_one(partition, records[done:])
        return None

    def _spooled(self, sink: StreamingSink, topic: str, records: list[Record]) -> None:
        """Let records be whole whose large values are in files, where the sink does not take them so."""
        for record in records:
            if isinstance(record, SpooledRecord):
                if not self._streams(sink, topic, record):
                    record.make_whole()
                self.batch.values[topic] |= {value.stand_in: value for value in record.values}
                # Files are bounded as memory is.
                self.batch.byte_count += sum(value.size for value in record.values)

    def _streams(self, sink: StreamingSink, topic: str, record: Record) -> bool:
        try:
            table = self._catalog.decoder(topic, self._catalog.mark_of(topic, record.value(), record.key())).table
            return bool(table.key) and sink.takes_values(table)
        except TailraceError:
            # That it cannot be read is said where it is.
            return False

    def _one_by_one(self, partition: TopicPartition, records: list[Record]) -> Cut | None:
        """The careful way: some keys are parked, or some record cannot be read."""
        batch, topic = self.batch, partition.topic
        for record in records:
            key, value = record.key(), record.value()
            is_judged = True
            if self._parked.queues(batch, record):
                if self._parked.lot.has(topic, partition.partition, record.offset()):
                    continue
                if not self._parked.begins_anew(record):
                    batch.queued.append(record)
                    continue
                is_judged = False
                self._parked.end(batch, record)
            try:
                if (lost := getattr(record, "lost", None)) is not None:
                    if lost.kind is ErrorKind.TRANSPORT:
                        # It may come yet. Nobody but this partition waits for it.
                        return Cut(record.offset(), error=lost)
                    raise lost
                mark = self._catalog.mark_of(topic, value, key)
                cut = self._run(partition, mark, [record], [value], is_judged=is_judged)
            except TailraceError as error:
                if error.kind is not ErrorKind.DECODE:
                    raise
                if self._decode_policy == "stop":
                    position = f"{topic}/{partition.partition}@{record.offset()}"
                    raise TailraceError(error.kind, error.message, remedy=error.remedy, position=position) from error
                batch.refused.append((record, error))
                if self._decode_policy == "park" and key is not None:
                    batch.blocked.add((topic, key))
                continue
            if cut is not None:
                return cut
        return None

    def _run(
        self,
        partition: TopicPartition,
        mark: bytes,
        records: list[Record],
        values: list[bytes],
        *,
        is_judged: bool = True,
    ) -> Cut | None:
        """Take in records that one version of the table wrote. Not judged: the target's rows may contradict them."""
        topic = partition.topic
        decoder = self._catalog.decoder(topic, mark)
        unfit = self._versions.unfit(topic, decoder.table)
        if unfit is not None:
            return Cut(records[0].offset(), error=unfit)
        staging = self._stagings.of(decoder)
        changes = decoder.decode_many(values) if staging is None else decoder.staged(values, staging.form)
        # Here already: where one cannot be read, none of the run is taken in.
        origins = self._origins_of(decoder, partition, records, changes) if self._origins else []
        ops = {change[0] for change in changes}
        cut: Cut | None = None
        # In a history a truncate is one more change.
        if "t" in ops and not self._history:
            cut, kept = self._part_at_truncate(partition, decoder, records, changes)
            records, changes, values, origins = records[kept], changes[kept], values[kept], origins[kept]
            ops = {change[0] for change in changes}
        if not records or self._truncates_met.get(partition) != self._truncates.get(topic):
            # Nothing is left, or it precedes a truncate that stands further on in this partition.
            return cut
        segment = self._segment(partition, decoder.table, staging)
        keys = [r.key() for r in records]
        written: Sequence[Change] = changes
        if "c" in ops and not segment.net.sequential:
            written = self._inserts.settled(topic, decoder.table, keys, changes)
        written_ops = ops if written is changes else {change[0] for change in written}
        segment.net.add(keys, written, written_ops, () if staging is None else values)
        if segment.net.sequential:
            segment.records.extend(records)
            segment.places += origins
        elif self._origins:
            segment.latest.update(zip(keys, origins, strict=True))
        if segment.first_changes is not None and self.boundaries is not None:
            segment.read_key = decoder.decode_key
            begin = self.boundaries.of(partition, decoder.table) if is_judged else NEVER
            segment.first_changes.add(keys, changes, records, begin, self._inserts.left_out[topic])
        if ops != {"r"} or decoder.table.version != self._catalog.topics[topic].oldest.version:
            # Rows that a later version wrote may be loaded for the second time.
            self.clean.discard(partition)
        segment.fresh = segment.fresh and partition in self.clean
        self.batch.last[topic] = (decoder, values[-1])
        return cut

    def _origins_of(
        self, decoder: Decoder, partition: TopicPartition, records: list[Record], changes: Sequence[Change]
    ) -> list[Origin]:
        """Return where records of a partition come from, and what was done. Raises DECODE."""
        facts = decoder.facts_many([record.value() for record in records])
        # A foreign writer's records bear no commit sequence: the catalogue knows another number that grows.
        # As `Origin(…)` makes them, without Python's function around it: there is one for each record.
        new = partial(tuple.__new__, Origin)
        return [
            new((partition, record.offset(), seq or self._catalog.sequence(decoder, record), us, txid, lsn, op, before))
            for record, (seq, _, us, txid, lsn, _, _), (op, before, _) in zip(records, facts, changes, strict=True)
        ]

    def _part_at_truncate(
        self, partition: TopicPartition, decoder: Decoder, records: list[Record], changes: Sequence[Change]
    ) -> tuple[Cut | None, slice]:
        """Return where a run with truncates is cut, and which part of it counts: what follows the last one, where that
        is done within the batch, else what precedes the first one.
        """
        places = [i for i, change in enumerate(changes) if change[0] == "t"]
        at = places[-1] if self.truncates_in_place else places[0]
        offset, version = records[at].offset(), decoder.table.version
        sequence = self._catalog.sequence(decoder, records[at])
        if self.truncates_in_place:
            self._truncate(partition, offset, sequence, version)
            return None, slice(at + 1, None)
        return Cut(offset, truncate=sequence, version=version), slice(at)

    def _truncate(self, partition: TopicPartition, offset: int, sequence: int, version: int) -> None:
        """Let a truncate take the place of all that the batch holds of its table from before."""
        topic = partition.topic
        self.batch.over |= self._parked.lot.before(topic, partition.partition, offset)
        self.batch.forget_refused(lambda record: (record.topic(), record.partition()) == partition)
        self._truncates_met[partition] = sequence
        self.clean.discard(partition)
        if sequence <= self._truncates.get(topic, -1):
            return
        self._truncates[topic] = sequence
        self.batch.truncated[topic] = self._versions.target(topic, version)
        self.batch.segments.pop(topic, None)
        self._floor = {p: floor for p, floor in self._floor.items() if p.topic != topic}

    def _segment(self, partition: TopicPartition, table: TableSchema, staging: Staging | None) -> Segment:
        segments = self.batch.segments.setdefault(partition.topic, [])
        # A partition's rows never go into an earlier segment than its rows before them did.
        for index in range(self._floor.get(partition, 0), len(segments)):
            if segments[index].net.table is table:
                self._floor[partition] = index
                return segments[index]
        target = self._versions.target(partition.topic, table.version)
        segment = Segment(
            partition.topic,
            target,
            self._versions.projection(table, target),
            NetChanges(table, history=self._history, staging=staging),
            values=self.batch.values[partition.topic],
        )
        if self.boundaries is not None and not segment.net.sequential and (ops := self.boundaries.ops(table)):
            segment.first_changes = FirstChanges(ops)
        segments.append(segment)
        self._floor[partition] = len(segments) - 1
        return segment
