"""A random but repeatable workload on a PostgreSQL database: what users do to rows, hard cases included."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import inf, isfinite, nan

import psycopg

from tests.kit.transactions import TABLES, Statement, Transactions

__all__ = ["SCHEMA", "TABLES", "Workload"]

SCHEMA = (
    """create table wl_items (
         id bigint primary key, name varchar(60) not null, amount numeric(12,2), ratio double precision, flag boolean,
         made timestamptz, day date, doc jsonb, note text, raw bytea, tags text[], code uuid, small smallint)""",
    "create table wl_pairs (a integer, b text, value numeric, at timestamp, primary key (b, a))",
    # Values stored out of line, uncompressed: an update that leaves `body` alone does not log it.
    "create table wl_texts (id bigint primary key, title text, body text, version integer not null default 0)",
    "alter table wl_texts alter column body set storage external",
    "create table wl_log (at timestamptz, level text, message text)",
    "alter table wl_log replica identity full",
    "create table wl_idle (id integer primary key, word text)",
    "insert into wl_idle values (1, 'never changed'), (2, null)",
)

_NUMBERS = ("0", "1E+20", "-0.000000001", "NaN", "12345678901234567890.5")


@dataclass(slots=True)
class Workload(Transactions):
    """The writer. Its tables are in schema `public`."""

    place: str
    real_numbers: bool = False
    """Whether there are neither NaN nor infinities: MySQL has none."""

    def schema(self) -> Sequence[str]:
        """Return the statements that make the tables."""
        return SCHEMA

    def is_interruption(self, error: Exception) -> bool:
        """Tell whether to try again."""
        return isinstance(error, psycopg.OperationalError)

    def _session(self) -> AbstractContextManager[psycopg.Connection]:
        return psycopg.connect(self.place)

    def _send(self, session: psycopg.Connection, statements: Sequence[Statement]) -> None:
        with session.pipeline():
            for statement, arguments in statements:
                session.execute(statement, arguments)

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
        if self.truncates and self._random.random() < 0.002:
            return (self._random.choice(("truncate wl_log", "truncate wl_pairs")), ())
        (make,) = self._random.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])
        return make()

    # --- wl_items

    def _insert_item(self) -> Statement:
        choose = self._random
        # Now and then a key that was deleted comes back.
        key = self._new_key() if choose.random() < 0.9 else self._some_key()
        marks = ", ".join(["%s"] * 13)
        return (
            f"insert into wl_items values ({marks}) on conflict do nothing",
            (
                key,
                f"item {key} " + choose.choice(("", "Ünïcödé", "🚀", "quote ' and \\")),
                self._or_null(Decimal(choose.randint(-(10**9), 10**9)).scaleb(-2)),
                self._or_null(self._real(choose.choice((0.1, -1e300, 5e-324, inf, nan, choose.random())))),
                self._or_null(choose.random() < 0.5),
                self._or_null(self._moment()),
                self._or_null(self._moment().date()),
                self._or_null(f'{{"key": {key}, "text": "a\\"b", "list": [1, null, 2.50]}}'),
                self._or_null(choose.choice(("", "x", "tab\there", "line\nbreak", "\\N", "long " * 50))),
                self._or_null(choose.randbytes(choose.choice((0, 1, 16)))),
                self._or_null(choose.choice(([], ["a", None, 'q"uote'], ["comma,", ""]))),
                self._or_null(f"{choose.getrandbits(128):032x}"),
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
                ("flag", self._or_null(choose.random() < 0.5)),
                ("doc", self._or_null(f"[{choose.random()}]")),
            )
        )
        return f"update wl_items set {column} = %s where id = %s", (value, self._some_key())

    # --- wl_pairs: a key of two columns

    def _upsert_pair(self) -> Statement:
        choose = self._random
        return (
            "insert into wl_pairs values (%s, %s, %s, %s) on conflict (b, a) do update set value = excluded.value",
            (
                self.slice_number * 1000 + choose.randint(0, 99),
                choose.choice(("", "b", "ä", "long" * 20)),
                self._or_null(self._real(Decimal(choose.choice(_NUMBERS)))),
                self._or_null(self._moment().replace(tzinfo=None)),
            ),
        )

    def _change_pair(self) -> Statement:
        a = self.slice_number * 1000 + self._random.randint(0, 99)
        if self._random.random() < 0.5:
            return "delete from wl_pairs where a = %s", (a,)
        return (
            """update wl_pairs set b = b || '+' where ctid = (
                 select p.ctid from wl_pairs p where p.a = %s and length(p.b) < 60 and not exists (
                   select from wl_pairs other where other.a = p.a and other.b = p.b || '+')
                 order by p.b collate "C" limit 1)""",
            (a,),
        )

    # --- wl_texts: values that are stored out of line

    def _insert_text(self) -> Statement:
        key = self._new_key()
        return "insert into wl_texts values (%s, %s, %s)", (key, f"title {key}", self._long_text())

    def _touch_text(self) -> Statement:
        return "update wl_texts set version = version + 1 where id = %s", (self._some_key(),)

    def _rewrite_text(self) -> Statement:
        return (
            "update wl_texts set body = %s, version = version + 1 where id = %s",
            (self._or_null(self._long_text()), self._some_key()),
        )

    def _delete_text(self) -> Statement:
        return "delete from wl_texts where id = %s", (self._some_key(),)

    # --- wl_log: no key, equal rows allowed

    def _insert_log(self) -> Statement:
        choose = self._random
        moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=choose.randint(0, 30))
        return "insert into wl_log values (%s, %s, %s)", (moment, choose.choice(("info", "warn", None)), "said")

    def _change_log(self) -> Statement:
        moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self._random.randint(0, 30))
        # By what the row holds, not by where it lies: that depends on when the server cleans up.
        one = "ctid = (select ctid from wl_log where at = %s order by level nulls first, message, ctid limit 1)"
        if self._random.random() < 0.5:
            return f"delete from wl_log where {one}", (moment,)
        return f"update wl_log set message = message || '.' where {one} and length(message) < 30", (moment,)

    # --- parts

    def _real(self, value: float | Decimal) -> float | Decimal | None:
        return None if self.real_numbers and not isfinite(value) else value

    def _fill(self, rows: int) -> list[Statement]:
        """Statements that insert many rows of new keys at once."""
        first = self._next
        self._next += rows
        bounds = (first, self._next - 1)
        return [
            (
                """insert into wl_items (id, name, amount, made, doc, tags)
                   select n, 'filled ' || n, n %% 10000 / 100.0, timestamptz '2026-01-01' + n * interval '1 s',
                          jsonb_build_object('n', n), array['t' || n %% 7]
                   from generate_series(%s::bigint, %s::bigint) n""",
                bounds,
            ),
            (
                """insert into wl_texts select n, 'filled ' || n, repeat(md5(n::text), 1 + (n %% 90)::int)
                   from generate_series(%s::bigint, %s::bigint) n where n %% 5 = 0""",
                bounds,
            ),
        ]
