"""A random but repeatable workload on a database of MySQL or MariaDB: what users do to rows, hard cases included."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pymysql
from pymysql.constants import CR, ER

from tests.kit.mysql import MysqlDatabase
from tests.kit.random_mysql import open_session
from tests.kit.transactions import Statement, Transactions

SCHEMA = (
    """create table wl_items (
         id bigint unsigned primary key, name varchar(60) not null, amount decimal(12,2), ratio double,
         flag tinyint(1), made datetime(6), seen timestamp(6) null, day date, took time(3), doc json, note text,
         raw blob, kind enum('a','b','ü'), labels set('x','y','z'), big bigint unsigned,
         latin varchar(40) character set latin1, small smallint)""",
    "create table wl_pairs (a integer, b varchar(100), value decimal(40,20), at datetime(6), primary key (b, a))",
    # With `binlog_row_image` NOBLOB or MINIMAL an update that leaves `body` alone does not log it.
    "create table wl_texts (id bigint primary key, title text, body longtext, version integer not null default 0)",
    "create table wl_log (at datetime, level varchar(10), message varchar(60){number})",
    "create table wl_idle (id integer primary key, word text)",
    "insert into wl_idle values (1, 'never changed'), (2, null)",
)

_INTERRUPTIONS = frozenset(
    {
        *(ER.SERVER_SHUTDOWN, ER.LOCK_DEADLOCK, ER.LOCK_WAIT_TIMEOUT, ER.CON_COUNT_ERROR),
        *(CR.CR_CONNECTION_ERROR, CR.CR_CONN_HOST_ERROR, CR.CR_SERVER_GONE_ERROR, CR.CR_SERVER_LOST),
        *(CR.CR_SERVER_HANDSHAKE_ERR, CR.CR_SERVER_LOST_EXTENDED),
        # The server ends a session (MariaDB); the driver finds its connection closed.
        *(1927, 0),
    }
)
_STAMP_S_MAX = 2**31 - 1


def is_interruption(error: Exception) -> bool:
    """Tell whether the server or the way to it is gone, or it has undone a transaction."""
    return isinstance(error, OSError) or (isinstance(error, pymysql.err.Error) and error.args[0] in _INTERRUPTIONS)


@dataclass
class MysqlWorkload(Transactions):
    """The writer. Its tables have the default collation, by which some keys are equal that are written otherwise."""

    place: MysqlDatabase
    keyless: bool = True
    """Whether `wl_log` has no key. Capture asks for one where the log does not hold whole rows."""

    def schema(self) -> Sequence[str]:
        """Return the statements that make the tables."""
        number = "" if self.keyless else ", number bigint auto_increment primary key"
        return [statement.replace("{number}", number) for statement in SCHEMA]

    def is_interruption(self, error: Exception) -> bool:
        """Tell whether to try again."""
        return is_interruption(error)

    def _session(self) -> AbstractContextManager[pymysql.Connection]:
        connection = open_session(self.place)
        connection.autocommit(False)
        return closing(connection)

    def _send(self, session: pymysql.Connection, statements: Sequence[Statement]) -> None:
        with session.cursor() as cursor:
            for statement, arguments in statements:
                cursor.execute(statement, arguments or None)

    def _transaction(self, session: pymysql.Connection) -> None:
        if self.truncates and self._random.random() < 0.01:
            # It commits, whatever it stands in.
            self._send(session, [(self._random.choice(("truncate table wl_log", "truncate table wl_pairs")), ())])
            self.written.transaction_count += 1
            self.written.change_count += 1
            return
        super()._transaction(session)

    def _statement(self) -> Statement:
        kinds: tuple[tuple[Callable[[], Statement], int], ...] = (
            (self._insert_item, 24),
            (self._update_item, 24),
            (self._delete_item, 8),
            (self._move_item, 3),
            (self._upsert_pair, 10),
            (self._change_pair, 4),
            (self._insert_text, 5),
            (self._touch_text, 10),
            (self._rewrite_text, 3),
            (self._delete_text, 2),
            (self._insert_log, 6),
            (self._change_log, 2),
        )
        (make,) = self._random.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])
        return make()

    # --- wl_items

    def _insert_item(self) -> Statement:
        choose = self._random
        # Now and then a key that was deleted comes back.
        key = self._new_key() if choose.random() < 0.9 else self._some_key()
        raw = choose.randbytes(choose.choice((0, 1, 16))).hex()
        marks = ", ".join(["%s"] * 15)
        return (
            (
                "insert ignore into wl_items (id, raw, name, amount, ratio, flag, made, seen, day, took, doc, note,"
                f" kind, labels, big, latin, small) values (%s, x'{raw}', {marks})"
            ),
            (
                key,
                f"item {key} " + choose.choice(("", "Ünïcödé", "🚀", "quote ' and \\")),
                self._or_null(Decimal(choose.randint(-(10**9), 10**9)).scaleb(-2)),
                self._or_null(choose.choice((0.1, -1e300, 2.5e-300, choose.random()))),
                self._or_null(choose.random() < 0.5),
                self._or_null(self._moment()),
                self._or_null(self._stamp()),
                self._or_null(self._moment().date()),
                self._or_null(timedelta(milliseconds=choose.randint(-3_020_399_000, 3_020_399_000))),
                self._or_null(f'{{"key": {key}, "text": "a\\"b", "list": [1, null, 2.50]}}'),
                self._or_null(choose.choice(("", "x", "tab\there", "line\nbreak", "\\N", "long " * 50))),
                self._or_null(choose.choice(("a", "b", "ü"))),
                self._or_null(choose.choice(("", "x", "x,z", "x,y,z"))),
                self._or_null(choose.choice((0, 1, 2**63, 2**64 - 1))),
                self._or_null(choose.choice(("é", "plain", "ÿ" * 40))),
                self._or_null(choose.choice((-32768, 32767, 0))),
            ),
        )

    def _update_item(self) -> Statement:
        choose = self._random
        column, value = choose.choice(
            (
                ("amount", self._or_null(Decimal(choose.randint(0, 10**8)).scaleb(-2))),
                ("note", self._or_null(f"note {choose.random()}")),
                ("made", self._or_null(self._moment())),
                ("seen", self._or_null(self._stamp())),
                ("flag", self._or_null(choose.random() < 0.5)),
                ("doc", self._or_null(f"[{choose.random()}]")),
            )
        )
        return f"update wl_items set {column} = %s where id = %s", (value, self._some_key())

    # --- wl_pairs: a key of two columns

    def _upsert_pair(self) -> Statement:
        choose = self._random
        return (
            "insert into wl_pairs values (%s, %s, %s, %s) on duplicate key update value = values(value)",
            (
                self.slice_number * 1000 + choose.randint(0, 99),
                choose.choice(("", "b", "B", "ä", "long" * 20)),
                self._or_null(Decimal(choose.choice(("0", "1E+19", "-0.000000001", "12345678901234567890.5")))),
                self._or_null(self._moment()),
            ),
        )

    def _change_pair(self) -> Statement:
        a = self.slice_number * 1000 + self._random.randint(0, 99)
        if self._random.random() < 0.5:
            return "delete from wl_pairs where a = %s", (a,)
        return (
            "update ignore wl_pairs set b = concat(b, '+') where a = %s and length(b) < 60 order by b limit 1",
            (a,),
        )

    # --- wl_texts: values that the log may leave out

    def _insert_text(self) -> Statement:
        key = self._new_key()
        return "insert into wl_texts (id, title, body) values (%s, %s, %s)", (key, f"title {key}", self._long_text())

    def _touch_text(self) -> Statement:
        return "update wl_texts set version = version + 1 where id = %s", (self._some_key(),)

    def _rewrite_text(self) -> Statement:
        return (
            "update wl_texts set body = %s, version = version + 1 where id = %s",
            (self._or_null(self._long_text()), self._some_key()),
        )

    def _delete_text(self) -> Statement:
        return "delete from wl_texts where id = %s", (self._some_key(),)

    # --- wl_log: equal rows allowed

    def _insert_log(self) -> Statement:
        choose = self._random
        moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=choose.randint(0, 30))
        return "insert into wl_log (at, level, message) values (%s, %s, %s)", (
            moment,
            choose.choice(("info", "warn", None)),
            "said",
        )

    def _change_log(self) -> Statement:
        moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self._random.randint(0, 30))
        if self._random.random() < 0.5:
            return "delete from wl_log where at = %s order by level, message limit 1", (moment,)
        return (
            (
                "update wl_log set message = concat(message, '.') where at = %s and length(message) < 30"
                " order by level, message limit 1"
            ),
            (moment,),
        )

    # --- parts

    def _fill(self, rows: int) -> list[Statement]:
        """Statements that insert many rows of new keys at once."""
        first = self._next
        self._next += rows
        numbers = "(with recursive s(n) as (select %s union all select n + 1 from s where n < %s) select n from s) s"
        bounds = (first, self._next - 1)
        return [
            (
                (
                    "insert into wl_items (id, name, amount, made, doc, labels) select n, concat('filled ', n),"
                    " n %% 10000 / 100.0, timestamp '2026-01-01 00:00:00' + interval n second, json_object('n', n),"
                    " n %% 8"
                    f" from {numbers}"
                ),
                bounds,
            ),
            (
                (
                    "insert into wl_texts (id, title, body) select n, concat('filled ', n),"
                    f" repeat(sha2(n, 256), 1 + n %% 90) from {numbers} where n %% 5 = 0"
                ),
                bounds,
            ),
        ]

    def _stamp(self) -> datetime:
        """A moment within what the type `timestamp` has."""
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=self._random.randint(1, _STAMP_S_MAX))
