"""Whatever crashes, and whenever: replaying the topics gives the source's tables."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from random import Random
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from capture import checkpoints
from capture.full_load import in_flight
from capture.publishing.schemas_topic import Catalogue
from capture.publishing.transaction_limits import TransactionLimits
from capture.session import Dependencies, Session
from runtime.kafka.errors import ExpiredError
from schemas.codecs import compile_decoder
from schemas.codecs.wire import schema_id
from schemas.errors import TailraceError
from schemas.position import first_sequence
from schemas.service_settings import CaptureSettings
from schemas.settings import Settings, parse
from schemas.signals import Signal
from schemas.topics import checkpoints_topic, data_topic, schemas_topic, transactions_topic
from schemas.transactions import mark_of
from tests.kit import simulation as sim
from tests.kit.simulated_kafka import Broker, Chaos, Crash, Pace, SimProducer


class World:
    """A source, a broker, and captures that come and go."""

    def __init__(
        self,
        seed: int,
        crash_rate: float,
        capture: dict[str, Any] | None = None,
        rules: list[Any] | None = None,
        **settings: Any,
    ) -> None:
        self.random, self.undone = Random(seed), Random(seed)
        self.chaos = Chaos(self.random)
        self.crash_rate = crash_rate
        self.database = sim.Database(
            self.random,
            [
                sim.table_schema("orders", keyed=True),
                sim.table_schema("items", keyed=True),
                sim.table_schema("notes", keyed=False),
            ],
        )
        self.broker = Broker()
        self.settings: Settings = parse(
            {
                "name": sim.REPLICATION,
                "kafka": {"bootstrap.servers": "simulated"},
                "source": {"database": sim.DATABASE, "user": "nobody", **({} if rules else {"tables": ["public.*"]})},
                **({"mappings": {"rules": rules}} if rules else {}),
                "topics": {"partitions": 2, "transaction_metadata": bool(seed % 2)},
                "capture": {"load_attempts": 1000, **(capture or {})},
                **settings,
            }
        )
        self.pace = Pace(transaction_timeout_s=self.settings.capture.transaction_timeout_s)
        self.limits = TransactionLimits(self.settings.capture)
        self.window_keys_max: int | None = None
        self.crashes = 0
        self.expired = 0
        self.current: Session | None = None

    def monotonic(self) -> float:
        self.pace.now_s += 0.002
        return self.pace.now_s

    def session(self) -> Session:
        checkpoint = checkpoints.decode(self.broker.read_all(checkpoints_topic(sim.REPLICATION)))
        catalogue = Catalogue.of(self.settings, self.broker.read_all(schemas_topic(sim.REPLICATION)))
        dependencies = Dependencies(
            source=sim.SimSource(self.database, self.chaos),
            producer=SimProducer(self.broker, self.chaos, self.pace),
            topics=self.broker,
            spawn=lambda: sim.SimWorker(self.database, self.chaos, self.settings.load_rules),
            limits=self.limits,
            now_us=lambda: int(self.pace.now_s * 1e6),
            monotonic=self.monotonic,
        )
        session = Session(self.settings, dependencies, checkpoint, catalogue)
        if self.window_keys_max is not None:
            session.loading._window_keys_max = self.window_keys_max
        return session

    def live(
        self,
        steps: int,
        *,
        ddl: bool = False,
        repartitions: bool = False,
        settles: Callable[[Session], bool] = lambda session: session.loading.is_idle,
    ) -> None:
        """Let transactions and sessions go on side by side; sessions crash and come again. In the end wait until the
        last one `settles` and has committed everything.
        """
        self.chaos.rate = self.crash_rate
        for _ in range(steps):
            for _ in range(self.random.choice((0, 0, 1, 3))):
                self.database.transact()
            if ddl and self.random.random() < 0.02:
                self.database.add_column(self.random.choice(list(self.database.tables)))
            if repartitions and self.random.random() < 0.1:
                self.database.repartition()
            self.database.drift()
            self._step()
        self.chaos.rate = 0.0
        self.database.settle()
        for _ in range(20_000):
            self._step()
            session = self.current
            is_at_end = session and settles(session) and not session.owes_records
            if session and is_at_end and session.committed.commit >= self.database.end():
                break
        else:
            pytest.fail("the session does not come to an end")
        session.drain()
        session.close()

    def stop_at(self, position: int) -> Session:
        """Let one session go on to a position."""
        self.database.settle()
        session = self.current = self.session()
        session.start(stop_at=str(position))
        for _ in range(20_000):
            if session.is_finished:
                break
            session.step(0)
        else:
            pytest.fail("the session does not come to the position")
        session.drain()
        assert session.acknowledged == session.committed, "the source keeps log that nobody needs"
        session.close()
        self.current = None
        return session

    def record_count(self) -> int:
        """Count what is in the topics of tables."""
        topics = (data_topic(sim.REPLICATION, name) for name in self.database.tables)
        return sum(len(partition) for topic in topics for partition in self.broker.topics[topic])

    def _start(self) -> Session:
        self.current = self.session()
        self.current.start()
        return self.current

    def _step(self) -> None:
        try:
            if self.current is None:
                self._start()
            else:
                self.current.step(0)
        except (Crash, TailraceError) as error:
            self.crashes += 1
            if isinstance(error, ExpiredError):
                self.expired += 1
            elif not self.chaos.rate:
                raise
            assert self.current is not None
            # What the death of a process does to its files and children.
            self.current.close()
            self.current = None
            if self.undone.random() < 0.2:
                self.broker.undo()

    def check(self) -> None:
        self._check_transactions(self.check_rows())

    def check_rows(self) -> Catalogue:
        catalogue = Catalogue.of(self.settings, self.broker.read_all(schemas_topic(sim.REPLICATION)))
        all_sequences: list[int] = []
        for name, table in self.database.tables.items():
            history = catalogue.versions[name]
            decoders = {entry.value_schema_id: compile_decoder(entry.table, sim.FORMAT) for entry in history}
            topic = data_topic(sim.REPLICATION, name)
            rows, sequences = sim.replay(self.broker, topic, decoders, len(table.columns), keyed=bool(table.key))
            all_sequences += sequences
            assert Counter(rows) == Counter(self.database.rows(name)), f"{name} differs"
            assert catalogue.loaded[name] >= 1
        assert len(all_sequences) == len(set(all_sequences)), "a commit sequence was used twice"
        return catalogue

    def _check_transactions(self, catalogue: Catalogue) -> None:
        """Marks count what the topics hold, and whole ones cut no transaction; so do BEGIN and END."""
        found: list[tuple[int, str, int | None, Any]] = []
        for name in self.database.tables:
            topic = data_topic(sim.REPLICATION, name)
            decoders = {e.value_schema_id: compile_decoder(e.table, sim.FORMAT) for e in catalogue.versions[name]}
            for partition in self.broker.topics[topic]:
                for _, value in partition:
                    assert value is not None
                    decoder = decoders[schema_id(value)]
                    facts = decoder.facts(value)
                    # What was held back comes long after its transaction.
                    txid = facts.txid if decoder.table.key and facts.snapshot == "false" else None
                    found.append((facts.seq, topic, txid, value))
        records = self.broker.topics[transactions_topic(sim.REPLICATION)][0]
        last, ends = first_sequence(1), []
        for key, value in records:
            mark = mark_of(key, value)
            if mark is None:
                continue
            assert mark.after == last
            last = mark.seq
            assert mark.counts == Counter(t for seq, t, _, _ in found if mark.after < seq <= mark.seq)
            if mark.whole:
                ends.append(mark.seq)
        assert ends[-1] == last == max(seq for seq, _, _, _ in found)
        for txid in {txid for _, _, txid, _ in found if txid}:
            span = [seq for seq, _, t, _ in found if t == txid]
            assert not [end for end in ends if min(span) <= end < max(span)], "a mark cuts a transaction"
        if not self.settings.topics.transaction_metadata:
            assert all(mark_of(*record) for record in records)
            return
        documents = [orjson.loads(v or b"") for k, v in records if mark_of(k, v) is None]
        begun = [d["id"] for d in documents if d["status"] == "BEGIN"]
        assert len(begun) == len(set(begun))
        assert {d["id"] for d in documents if d["status"] == "END"} == set(begun)
        for end in (d for d in documents if d["status"] == "END"):
            inside = [v for _, _, _, v in found if str(end["id"]).encode() in v[-60:]]
            assert end["event_count"] == sum(c["event_count"] for c in end["data_collections"])
            assert end["id"] in begun
            if self.database.truncates == 0.0:
                assert len(inside) == end["event_count"]


@pytest.mark.parametrize("seed", range(12))
def test_the_topics_replay_to_the_source_over_crashes(seed: int) -> None:
    world = World(seed, crash_rate=0.08)
    for _ in range(30):
        world.database.transact()
    world.live(120)
    world.check()


@pytest.mark.parametrize("seed", range(5))
def test_the_topics_replay_to_the_source_when_few_keys_may_be_remembered(seed: int) -> None:
    world = World(seed, crash_rate=0.02)
    world.window_keys_max = 3
    for _ in range(60):
        world.database.transact()
    world.live(120)
    world.check()


@pytest.mark.parametrize("seed", range(5))
def test_chunks_larger_than_the_buffer_go_out_in_parts(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_flight, "BUFFER_BYTES_MAX", 200)
    world = World(seed, crash_rate=0.04)
    for _ in range(60):
        world.database.transact()
    world.live(120)
    world.check()


@pytest.mark.parametrize("seed", range(8))
def test_tables_change_while_they_are_loaded_and_streamed(seed: int) -> None:
    world = World(seed, crash_rate=0.03)
    for _ in range(30):
        world.database.transact()
    world.live(120, ddl=True)
    world.check()


CUTS: list[dict[str, Any]] = [
    {"rule-type": "selection", "rule-action": "include", "object-locator": {"schema-name": "%", "table-name": "%"}},
    {"parallel-load": {"type": "partitions-auto"}, "object-locator": {"schema-name": "public", "table-name": "orders"}},
    # Rows leave these by updates of which the log does not hold all values.
    {
        "parallel-load": {"type": "ranges", "columns": ["a"], "boundaries": [["v12"], ["v2"], ["v3"], ["v6"]]},
        "object-locator": {"schema-name": "public", "table-name": "items"},
    },
]


@pytest.mark.parametrize("seed", range(8))
def test_tables_are_loaded_by_segments_that_rows_leave_and_that_change(seed: int) -> None:
    rules = [{"rule-type": "table-settings", "rule-id": str(number), **rule} for number, rule in enumerate(CUTS)]
    world = World(seed, crash_rate=0.0 if seed % 2 else 0.03, rules=rules)
    world.chaos.idleness = 0.85
    for _ in range(60):
        world.database.transact()
    world.live(120, ddl=seed > 5, repartitions=True)
    world.check()


@pytest.mark.parametrize("seed", range(4))
def test_a_table_that_cannot_be_loaded_stands_still_alone(seed: int) -> None:
    """A rule that does not fit, and a right that is lacking: all else is loaded, and they are when it is mended."""
    rules = [{"rule-type": "table-settings", "rule-id": str(number), **rule} for number, rule in enumerate(CUTS)]
    rules[1]["parallel-load"] = {"type": "partitions-list", "partitions": ["p0", "p1", "p2"]}
    world = World(seed, crash_rate=0.0, capture={"suspended_retry_s": 1}, rules=rules)
    orders, items, notes = world.database.tables
    world.database.modulus = 2
    world.database.forbidden = {notes}
    for _ in range(60):
        world.database.transact()

    def stands(session: Session) -> bool:
        loads = session.loading.loads
        suspended = {name: load.suspension.kind for name, load in loads.items() if load.suspension is not None}
        return loads[items].state == "loaded" and suspended == {orders: "configuration", notes: "prerequisite"}

    world.live(60, settles=stands)
    assert world.current is not None
    assert "no partition p2" in str(world.current.loading.loads[orders].suspension)
    assert world.current.committed.commit >= world.database.end()
    world.current = None
    world.database.modulus, world.database.forbidden = 3, set()
    world.live(60)
    world.check()


def test_a_kafka_transaction_holds_what_it_may_and_what_more_a_poll_brought_follows() -> None:
    world = World(1, crash_rate=0.0, capture={"commit_rows": 2})
    world.live(1)
    for _ in range(60):
        world.database.transact()
    world.database.settle()
    session, committed = world.session(), [0]
    session.start()
    while session.committed.commit < world.database.end():
        session.step(0)
        committed.append(session.row_count)
    largest = max(after - before for before, after in itertools.pairwise(committed))
    # One transaction of the source has eight changes at most.
    assert largest < 2 + 8


def test_a_table_that_cannot_be_loaded_stops_capture_where_the_policy_says_so() -> None:
    world = World(1, crash_rate=0.0, capture={"table_errors": "stop"})
    world.database.forbidden = {next(iter(world.database.tables))}
    with pytest.raises(TailraceError, match="no right to read"):
        world.live(10)


def test_a_table_that_is_emptied_stops_capture_where_the_policy_says_so() -> None:
    world = World(1, crash_rate=0.0, ddl={"truncated": "stop"})
    world.database.truncates = 0.0
    world.live(10)
    world.current, world.database.truncates = None, 1.0
    world.database.transact()
    with pytest.raises(TailraceError, match="was emptied"):
        world.live(10)


def test_as_many_processes_load_as_settings_say() -> None:
    world = World(1, crash_rate=0.0, capture={"load_processes": 3})
    for _ in range(60):
        world.database.transact()
    session = world.session()
    session.start()
    for _ in range(3):
        session.step(0)
    assert len({id(slot.worker) for slot in session._loader._slots if slot.worker is not None}) == 3
    session.close()


def test_a_transaction_holds_as_many_rows_and_bytes_as_settings_say() -> None:
    limits = TransactionLimits(CaptureSettings(commit_rows=10, commit_bytes=65_536))
    held = [SimpleNamespace(open_rows=rows, open_bytes=size) for rows, size in ((9, 65_535), (10, 0), (1, 65_536))]
    assert [limits.met(transaction) for transaction in held] == [False, True, True]


@pytest.mark.parametrize("seed", range(8))
def test_a_reload_brings_every_row_to_targets_that_leave_out_updates_of_rows_that_they_lack(seed: int) -> None:
    rules = {"errors": {"update_conflict": "skip"}}
    world = World(
        seed, crash_rate=0.0 if seed % 2 else 0.03, apply=rules, mode="full-load-and-cdc" if seed % 4 else "cdc"
    )
    for _ in range(60):
        world.database.transact()
    world.live(10)
    session = world.current = world.session()
    session.start()
    # In the log a part of a row is seen to be one, and a whole one is not.
    world.database.logs_whole = True
    name = next(iter(world.database.tables))
    assert session.reload(Signal("1", "reload", table=str(name))).startswith("reloads")
    session.commit()
    topic = data_topic(sim.REPLICATION, name)
    begins = [len(partition) for partition in world.broker.topics[topic]]
    world.chaos.idleness = 0.85
    world.live(150)
    history = Catalogue.of(world.settings, world.broker.read_all(schemas_topic(sim.REPLICATION))).versions[name]
    decoders = {entry.value_schema_id: compile_decoder(entry.table, sim.FORMAT) for entry in history}
    rows, _ = sim.replay(world.broker, topic, decoders, 3, keyed=True, begins=begins, misses=True)
    assert Counter(rows) == Counter(world.database.rows(name))


def test_a_load_that_begins_again_repeats_rows_and_nothing_in_the_topic_says_so() -> None:
    # Why targets have the key from the start: docs/decisions/20261130-the-key-comes-with-the-table.md.
    world = World(2, crash_rate=0.0)
    for _ in range(60):
        world.database.transact()
    world.database.settle()
    name = next(iter(world.database.tables))
    session = world.current = world.session()
    session.start()
    load = session.loading.loads[name]
    while not load.done:
        session.step(0)
    assert not load.is_complete
    assert session.reload(Signal("1", "reload", table=str(name))).startswith("reloads")
    session.commit()
    world.live(0)
    world.check()
    history = Catalogue.of(world.settings, world.broker.read_all(schemas_topic(sim.REPLICATION))).versions[name]
    (decoder,) = (compile_decoder(entry.table, sim.FORMAT) for entry in history)
    partitions = world.broker.topics[data_topic(sim.REPLICATION, name)]
    values = [value for records in partitions for _, value in records if value is not None]
    keys = [key for records in partitions for key, _ in records]
    assert {op for op, _, _ in decoder.decode_many(values)} == {"r"}
    assert len(keys) > len(set(keys))


def test_a_full_load_by_itself_ends_with_the_error_of_the_tables_that_are_left() -> None:
    world = World(1, crash_rate=0.0, mode="full-load")
    _, items, _ = world.database.tables
    world.database.forbidden = {items}
    world.live(10, settles=lambda session: session.is_finished)
    assert world.current is not None
    assert {str(load.state) for name, load in world.current.loading.loads.items() if name != items} == {"loaded"}
    assert world.current.loading.stuck is not None
    assert world.current.loading.stuck.table == str(items)


@pytest.mark.parametrize("seed", range(6))
def test_a_capture_stops_where_it_is_told_to_and_counts_what_it_publishes(seed: int) -> None:
    world = World(seed, crash_rate=0.0)
    world.live(20)
    assert world.current is not None
    assert world.current.row_count == world.record_count()
    for _ in range(60):
        world.database.transact()
    # Between two transactions, and within what the second one is in the log.
    for number, inside in ((20, 0), (40, 1)):
        boundary = world.database.end() - (60 - number) * sim.STEP
        before = world.record_count()
        session = world.stop_at(boundary + inside)
        assert session.committed.commit == boundary
        wanted = sum(
            len(world.broker.topics[data_topic(sim.REPLICATION, entry.table.name)]) if entry.op == "t" else 1
            for txn in world.database.log[boundary // sim.STEP - 20 : boundary // sim.STEP]
            for entry in txn.entries
        )
        keys_changed = _keys_changed(world, boundary // sim.STEP - 20, boundary // sim.STEP)
        assert session.row_count == world.record_count() - before == wanted + keys_changed
        assert not session.publisher.open_rows
    world.current = None
    world.live(0)
    world.check()


def _keys_changed(world: World, first: int, end: int) -> int:
    """Count the changes of keys: two records each."""
    entries = [entry for txn in world.database.log[first:end] for entry in txn.entries if entry.table.key]
    return sum(1 for e in entries if e.before and e.after and e.before[0] != e.after[0])


@pytest.mark.parametrize("seed", range(4))
def test_a_load_that_goes_on_takes_a_capture_past_the_position_to_stop_at(seed: int) -> None:
    world = World(seed, crash_rate=0.0)
    for _ in range(30):
        world.database.transact()
    session = world.stop_at(0)
    assert session.loading.is_idle
    for _ in range(10):
        world.database.transact()
    world.live(0)
    world.check()


@pytest.mark.parametrize("seed", range(4))
def test_a_starved_capture_takes_less_into_a_transaction_until_it_is_in_time(seed: int) -> None:
    world = World(seed, crash_rate=0.0, capture={"commit_interval_ms": 60_000, "transaction_timeout_s": 5})
    for _ in range(60):
        world.database.transact()
    # Twenty records of any kind are too many.
    world.pace.record_s = 0.25
    world.live(40)
    world.check()
    assert 1 <= world.expired <= 20
    assert world.limits.rows < world.settings.capture.commit_rows
    full = SimpleNamespace(open_rows=10**6, open_bytes=0)
    for _ in range(100):
        world.limits.committed(full, 0.1)
    assert world.limits.rows == world.settings.capture.commit_rows
