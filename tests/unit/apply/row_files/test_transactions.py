"""Changes of all tables in one order: `preserve_transactions`, whatever Kafka shows when, and whatever dies."""

from __future__ import annotations

import contextlib
import pickle
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from apply.error_handling.policies import Policies
from apply.error_handling.survey import Progress
from apply.limits import Limits
from apply.sink import Sink, TopicPartition
from apply.sink_kinds.row_files.reader import FilesReader
from apply.sink_kinds.row_files.sink import RowFilesSink
from apply.sinks import files
from apply.sinks.files import DirectoryStore
from schemas.endpoints.files import FilesTarget
from schemas.errors import ErrorKind, TailraceError
from tests.conformance.sink_suite import SEATS
from tests.unit.apply.rig import MARKS, Member, Rig
from tests.unit.apply.row_files.test_files import ORIGIN, batch
from tests.unit.apply.test_order import PARENTS, TABLES, Source

TOGETHER: dict[str, Any] = {"preserve_transactions": True, "cdc_path": "cdc/all", "sequence_column_name": "seq"}


class Directory:
    """What the sinks of one target write, and a disk that fails now and then."""

    def __init__(self, root: Path, **more: Any) -> None:
        self.root = root
        section = {"engine": "files", "directory": str(root), "cdc_max_batch_interval": 1, **TOGETHER, **more}
        self.section = FilesTarget.model_validate(section)

    def sink(self) -> Sink:
        return RowFilesSink(DirectoryStore(self.root), self.section)

    def lines(self) -> list[str]:
        """Return all rows, in the order of the files' numbers."""
        paths = sorted((self.root / "cdc/all").glob("CDC_TXN-*"), key=lambda path: path.name.split("-")[2])
        return [line for path in paths for line in path.read_text().splitlines()]


def published(rig: Rig) -> list[str]:
    """Return what each row should begin with, in the order of the source's commits."""
    found: dict[tuple[int, str], str] = {}
    for partition, log in rig.topics.logs.items():
        for entry in log if partition != MARKS else ():
            value = entry.value()
            assert value is not None
            seq, op, _, _ = pickle.loads(value[1:])
            table = partition.topic.rpartition(".")[2]
            letter = {"c": "I", "u": "U", "d": "D", "t": "T"}[op]
            found[seq, table] = f"{letter},{table},public,{seq}"
    return [found[place] for place in sorted(found)]


def test_a_transaction_that_was_aborted_before_its_mark_says_nothing_of_the_order(tmp_path: Path) -> None:
    rig, directory = Rig([SEATS]), Directory(tmp_path)
    rig.topics.begin_marks()
    first = rig.member(by_commit=True, take_all=True, other=directory.sink())
    for partition in rig.topics.logs:
        rig.topics.ends[partition] += 2 * (partition != MARKS)
    for _ in range(20):
        rig.clock.now += 0.1
        first.applier.step()
    rig.topics.put(SEATS, "c", None, ("x", None, 1))
    rig.topics.put_mark(whole=True)
    for _ in range(20):
        rig.clock.now += 0.1
        first.applier.step()
    assert directory.lines() == [], "it is gathered, and lost with the first one"
    second = rig.member(by_commit=True, take_all=True, other=directory.sink())
    second.applier.writer.patient = False
    rig.settle(second)
    assert len(directory.lines()) == 1


@pytest.mark.parametrize("seed", range(3))
def test_all_changes_stand_in_the_order_of_their_commits_and_once(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(TABLES, seed, partition_count=1 + seed % 4)
    rig.topics.begin_marks()
    source, directory = Source(rig), Directory(tmp_path, max_file_size=1)
    limits = Limits(batch_rows=rig.chance.choice((3, 20, 200)))
    write, is_calm = files._write, False

    def failing(folder: Path, name: str, content: bytes) -> None:
        fault = 1.0 if is_calm else rig.chance.random()
        if fault > 0.1:
            write(folder, name, content)
        if fault < 0.2:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(files, "_write", failing)

    def refused(*_: object) -> None:
        raise TailraceError(ErrorKind.TRANSPORT, "this member is none of the group")

    zombies: list[Member] = []

    def started() -> Member:
        return rig.member(limits=limits, take_all=True, by_commit=True, other=directory.sink())

    member = started()
    for _ in range(20):
        for _ in range(rig.chance.randint(0, 3)):
            source.transact()
        for _ in range(rig.chance.randint(1, 4)):
            rig.clock.now += 0.2
            member.applier.writer._gathering_since -= rig.chance.random()
            member.applier.step()
        if rig.chance.random() < 0.15:
            # It dies, or hangs: the group takes no offsets of it any more.
            monkeypatch.setattr(member.consumer, "commit", refused)
            zombies.append(member)
            member = started()
        while zombies and rig.chance.random() < 0.3:
            zombie = zombies.pop()
            zombie.applier.step()
            zombie.consumer.rebalance("lose", rig.topics.logs)
            zombie.applier.step()
    rig.topics.put_mark(whole=True)
    is_calm = True
    for _ in range(10_000):
        # Time passes, and nothing more comes: what was gathered is due.
        rig.clock.now += 0.2
        member.applier.writer._gathering_since -= 0.2
        member.applier.step()
        if rig.is_settled(member):
            break
    expected = published(rig)
    assert [",".join(line.split(",")[:4]) for line in directory.lines()] == expected
    assert len(expected) > 50
    with contextlib.closing(FilesReader(DirectoryStore(tmp_path), directory.section)) as reader:
        # Nothing is loaded: all rows come from the common files.
        assert sorted(reader.rows(PARENTS), key=repr) == source.state()[PARENTS.name]


def test_files_are_those_of_dms(tmp_path: Path) -> None:
    directory = Directory(tmp_path, data_format="parquet", sequence_column_name=None, max_file_size=1)
    sink = directory.sink()
    later = ORIGIN._replace(partition=TopicPartition("shop.public.seats", 0), seq=ORIGIN.seq + 1)
    wide = ("c", None, (4, "x" * 2000, None))
    for one in (
        batch(("r", None, (1, "a", True))),
        batch(("d", ("h", None, 1), None), table=SEATS, origin=later),
        # A truncate comes once for each partition of its topic.
        *(batch(("t", None, None), origin=ORIGIN._replace(offset=n, seq=ORIGIN.seq + 3)) for n in (7, 9)),
        batch(("c", None, (2, "b,c", None))),
        batch(wide, origin=ORIGIN._replace(seq=ORIGIN.seq + 4)),
        batch(wide, origin=ORIGIN._replace(seq=ORIGIN.seq + 5)),
    ):
        assert sink.apply(one) == []
    sink.flush()
    sink.close()
    found = {str(p.relative_to(tmp_path)): p for p in tmp_path.rglob("*") if p.is_file() and p.name[0] != "."}
    names = sorted(found)
    assert [name.rpartition(".")[2] for name in names] == ["csv", "csv", "parquet"]
    assert names[0].startswith("cdc/all/CDC_TXN-20250101021436444-0001000000000005-")
    assert found[names[0]].read_text() == (
        'I,orders,public,2,"b,c",NULL\nD,seats,public,h,NULL,1\nT,orders,public,NULL,NULL,NULL\n'
        f"I,orders,public,4,{'x' * 2000},NULL\n"
    )


def test_a_record_that_cannot_be_written_stops_instead_of_coming_later(tmp_path: Path) -> None:
    rig = Rig(TABLES, 1)
    rig.topics.begin_marks()
    row = (1, "a", "new")
    rig.topics.put(PARENTS, "c", None, row)
    rig.topics.put(PARENTS, "u", None, row, raw=bytes([PARENTS.version]) + b"broken")
    rig.topics.put_mark(whole=True)
    policies, other = Policies(decode="park"), Directory(tmp_path).sink()
    member = rig.member(policies, take_all=True, by_commit=True, other=other)
    member.applier.writer.patient = False
    with pytest.raises(TailraceError) as caught:
        rig.settle(member, steps=50)
    assert caught.value.kind is ErrorKind.DECODE
    assert rig.dead_letters.records == []


def test_partitions_of_different_moments_are_refused(tmp_path: Path) -> None:
    rig = Rig(TABLES, 1)
    rig.topics.begin_marks()
    Source(rig)._family()
    rig.topics.put_mark(whole=True)
    # As an applier by key has left it.
    rig.group[next(p for p in rig.topics.logs if p != MARKS)] = Progress(1, 1)
    member = rig.member(take_all=True, by_commit=True, other=Directory(tmp_path).sink())
    with pytest.raises(TailraceError, match="different moments") as caught:
        rig.settle(member, steps=10)
    assert caught.value.kind is ErrorKind.PREREQUISITE


@pytest.mark.parametrize("more", [{"cdc_path": "/"}, {"date_partition_enabled": True}, {"add_column_name": True}])
def test_what_does_not_go_together_is_refused(more: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="preserve_transactions"):
        Directory(tmp_path, **more)


def test_a_record_whose_source_cannot_be_read_lets_those_before_it_be_written_once(tmp_path: Path) -> None:
    rig = Rig([SEATS], partition_count=1)
    bad = b"\1" + pickle.dumps((None, "c", None, ("x", None, 5)))
    for number in range(10):
        rig.topics.put(SEATS, "c", None, ("x", None, number), raw=bad if number == 5 else None)
    section = {"engine": "files", "directory": str(tmp_path), "cdc_max_batch_interval": 1}
    sink = RowFilesSink(DirectoryStore(tmp_path), FilesTarget.model_validate(section))
    member = rig.member(Policies(decode="skip"), take_all=True, other=sink, limits=Limits(batch_rows=100))
    member.applier.writer.patient = False
    rig.settle(member, steps=50)
    rows = [line for path in tmp_path.rglob("*.csv") for line in path.read_text().splitlines()]
    assert sorted(int(row.rpartition(",")[2]) for row in rows) == [0, 1, 2, 3, 4, 6, 7, 8, 9]
