"""A shop in business: keeps changing the demo's source at a steady rate until it is asked to stop.

A process of its own (`python -m deploy.demo.writer`), so that nothing that happens to the orchestrator's screen slows
it. Seeded: it does the same in the same order, though how far it gets depends on the machine. Once a second, and at
the end, it prints a line of JSON with its counts; SIGTERM ends it after the transaction it is in.
"""

from __future__ import annotations

import json
import random
import signal
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Protocol

from deploy.demo.engines import Dialect, mysql, postgresql
from deploy.demo.shop import ROWS, STATUSES


class Cursor(Protocol):
    """What psycopg's and PyMySQL's cursors have in common."""

    rowcount: int
    connection: Any

    def execute(self, statement: str, parameters: Sequence[Any] = ...) -> object:
        """Run a statement with parameters (`%s`)."""
        ...

    def executemany(self, statement: str, parameters: Sequence[Sequence[Any]]) -> object:
        """Run a statement once for each row of parameters."""
        ...

    def fetchall(self) -> Sequence[Any]:
        """Return the rows of the last query."""
        ...


_ENGINES = {
    "postgresql": (postgresql.BUSINESS, postgresql.open_for_business),
    "mysql": (mysql.BUSINESS, mysql.open_for_business),
}


class Shop:
    """The kinds of business, one transaction each. Each returns how many rows it changed."""

    def __init__(self, seed: int, dialect: Dialect) -> None:
        self._dialect = dialect
        self._random = random.Random(seed)
        self._next_order = ROWS["orders"] + 1
        self._own_orders: list[int] = []
        self.rolled_back = 0

    def kinds(self) -> tuple[tuple[int, Callable[[Cursor], int]], ...]:
        """Return what happens, with how often out of a hundred."""
        return (
            (30, self.order),
            (22, self.progress),
            (12, self.restock),
            (8, self.view_pages),
            (7, self.cancel),
            (6, self.review),
            (5, self.reprice),
            (4, self.move_house),
            (3, self.forget_views),
            (2, self.rename_sku),
            (0, self.swap_sku),
            (1, self.think_again),
        )

    def order(self, cursor: Cursor) -> int:
        """A customer orders some products: rows in three tables, stock goes down."""
        r = self._random
        order, self._next_order = self._next_order, self._next_order + 1
        products = r.sample(range(1, ROWS["products"] // 2), r.randint(1, 4))
        cursor.execute(
            "insert into orders values (%s, %s, 'new', %s, %s, current_timestamp(6),"
            " current_date + interval '3' day, '09:30', %s, 'web')",
            (
                order,
                r.randint(1, ROWS["customers"]),
                r.randint(100, 99999) / 100,
                r.choice([None, "please ring ☎", ""]),
                r.random() < 0.1,
            ),
        )
        cursor.executemany(
            "insert into order_items values (%s, %s, %s, %s, %s)",
            [
                (order, line, product, r.randint(1, 5), r.randint(100, 9999) / 100)
                for line, product in enumerate(products)
            ],
        )
        cursor.execute(
            "update inventory set quantity = quantity - 1, counted_at = current_timestamp(6)"
            f" where warehouse = 1 and product in ({', '.join(['%s'] * len(products))})",
            products,
        )
        self._own_orders.append(order)
        return 1 + len(products) + cursor.rowcount

    def progress(self, cursor: Cursor) -> int:
        """An order is paid for, or goes on its way."""
        r = self._random
        order = r.choice(self._own_orders) if self._own_orders and r.random() < 0.6 else r.randint(1, ROWS["orders"])
        cursor.execute(
            "update orders set status = %s, note = concat(coalesce(note, ''), '.') where id = %s",
            (STATUSES[r.randint(0, 5)], order),
        )
        changed = cursor.rowcount
        if changed and r.random() < 0.4:
            cursor.execute(
                "insert into payments values (%s, %s, %s, 'card', %s, current_timestamp(6), '26:03:04.5')",
                (str(uuid.UUID(int=r.getrandbits(128))), order, r.randint(1, 10**6) / 1000, json.dumps({"try": 1})),
            )
            changed += 1
        return changed

    def restock(self, cursor: Cursor) -> int:
        """A warehouse counts some shelves: one statement, many rows."""
        first = self._random.randint(1, ROWS["inventory"] // 8 - 20)
        cursor.execute(
            "update inventory set quantity = quantity + 10 where warehouse = %s and product between %s and %s",
            (self._random.randint(1, 8), first, first + self._random.randint(0, 12)),
        )
        return cursor.rowcount

    def view_pages(self, cursor: Cursor) -> int:
        """Pages are looked at: rows without a key, some of them equal."""
        r = self._random
        views = [
            (f"/product/{r.randint(1, 40)}", r.randint(1, 20), r.randint(0, 8) / 8) for _ in range(r.randint(1, 5))
        ]
        cursor.executemany("insert into page_views values (%s, %s, current_timestamp(0), %s)", views)
        return len(views)

    def cancel(self, cursor: Cursor) -> int:
        """An order never was: deletes that cascade."""
        if not self._own_orders:
            return 0
        order = self._own_orders.pop(self._random.randrange(len(self._own_orders)))
        cursor.execute("delete from order_items where order_id = %s", (order,))
        changed = cursor.rowcount
        cursor.execute("delete from payments where order_id = %s", (order,))
        changed += cursor.rowcount
        cursor.execute("delete from orders where id = %s", (order,))
        return changed + cursor.rowcount

    def review(self, cursor: Cursor) -> int:
        """A product is judged; the mean of its ratings changes, its long description does not (unchanged TOAST)."""
        product = self._random.randint(1, ROWS["products"] // 20) * 20
        cursor.execute(
            "insert into reviews (product, customer, stars, body, written_at)"
            " values (%s, %s, %s, %s, current_timestamp(6))",
            (
                product,
                self._random.randint(1, ROWS["customers"]),
                self._random.randint(1, 5),
                "Ça va 👍" * self._random.randint(0, 9),
            ),
        )
        cursor.execute(
            "update products set rating_mean = (select avg(stars) from reviews where product = %s) where id = %s",
            (product, product),
        )
        return 1 + cursor.rowcount

    def reprice(self, cursor: Cursor) -> int:
        """A sale begins or ends in a category."""
        cursor.execute(
            "update products set price = round(price * %s, 2) + 0.01, on_sale = not on_sale where id %% 600 = %s",
            (Decimal(self._random.choice(["0.9", "1.1"])), self._random.randrange(600)),
        )
        return cursor.rowcount

    def move_house(self, cursor: Cursor) -> int:
        """A customer moves: two tables, one of them with a key of two columns; sometimes the key itself changes."""
        customer = self._random.randint(1, 20000)
        cursor.execute(
            f"update customers set preferences = {self._dialect.merged}, balance = balance + 0.0001 where id = %s",
            (json.dumps({"moved": self._random.randint(1, 99)}), customer),
        )
        changed = cursor.rowcount
        cursor.execute("update addresses set street = %s where customer = %s", (f"New Road {customer}", customer))
        changed += cursor.rowcount
        if self._random.random() < 0.3:
            cursor.execute(
                "update addresses set number = number + 100 where customer = %s and number < 100", (customer,)
            )
            changed += cursor.rowcount
        return changed

    def forget_views(self, cursor: Cursor) -> int:
        """Some views are deleted one by one, also one of several equal ones."""
        cursor.execute(self._dialect.forgotten_views, (f"/product/{self._random.randint(1, 40)}",))
        return cursor.rowcount

    def rename_sku(self, cursor: Cursor) -> int:
        """A unique value changes."""
        product = self._random.randint(1, ROWS["products"])
        cursor.execute(
            "update products set sku = %s where id = %s",
            (f"R-{uuid.UUID(int=self._random.getrandbits(128)).hex[:12]}", product),
        )
        return cursor.rowcount

    def swap_sku(self, cursor: Cursor) -> int:
        """Two products swap a unique value, by way of a third."""
        a, b = self._random.sample(range(1, ROWS["products"]), 2)
        cursor.execute("select id, sku from products where id in (%s, %s) order by id", (a, b))
        (first, first_sku), (second, second_sku) = cursor.fetchall()
        cursor.execute("update products set sku = %s where id = %s", (f"tmp-{first}", first))
        cursor.execute("update products set sku = %s where id = %s", (first_sku, second))
        cursor.execute("update products set sku = %s where id = %s", (second_sku, first))
        return 3

    def think_again(self, cursor: Cursor) -> int:
        """Work that is rolled back: none of it may ever appear anywhere."""
        cursor.executemany(
            "insert into customers (public_id, country, name, email, registered_at)"
            " values (%s, 'AA', 'GHOST', 'ghost@example.com', current_timestamp(6))",
            [(str(uuid.UUID(int=self._random.getrandbits(128))),) for _ in range(5)],
        )
        cursor.connection.rollback()
        self.rolled_back += 1
        return 0


def run(engine: str, url: str, transactions_per_s: float, seed: int) -> None:
    """Do business until SIGTERM. Falls behind rather than hurry where the machine is slow."""
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    dialect, connect = _ENGINES[engine]
    business = Shop(seed, dialect)
    chooser = random.Random(seed + 1)
    weights, kinds = zip(*business.kinds(), strict=True)
    transactions = changes = 0
    began = reported = time.monotonic()
    due = began
    with connect(url) as connection, connection.cursor() as cursor:
        while not stopping:
            kind = chooser.choices(kinds, weights)[0]
            changed = kind(cursor)
            connection.commit()
            transactions += bool(changed)
            changes += changed
            now = time.monotonic()
            due = max(due + 1 / transactions_per_s, now - 0.5)
            if now - reported >= 1.0:
                reported = now
                report(transactions, changes, now - began)
            if due > now:
                time.sleep(due - now)
    report(transactions, changes, time.monotonic() - began)


def report(transactions: int, changes: int, seconds: float) -> None:
    """Print the counts as one line of JSON."""
    print(json.dumps({"transactions": transactions, "changes": changes, "seconds": round(seconds, 3)}), flush=True)


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
