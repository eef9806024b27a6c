"""A program: the server of moto, whose DynamoDB carries out one write after another.

moto copies the table of each action of a transaction, so that fifty rows cost a hundred copies of all that is there:
minutes and gigabytes for some ten thousand items. And a transaction that is cancelled undoes what others wrote
meanwhile. Here the items that a transaction is about are kept, and put back when it is cancelled.
"""

from __future__ import annotations

import copy
import functools
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.table import Table
from moto.server import main

_turn = threading.RLock()
"""Whoever writes has it: what is put back is not what somebody else has written since."""


def _one_at_a_time(write: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(write)
    def written(*arguments: Any, **named: Any) -> Any:
        with _turn:
            return write(*arguments, **named)

    return written


def _transaction(write: Callable[..., None]) -> Callable[..., None]:
    def written(backend: DynamoDBBackend, transact_items: list[dict[str, Any]]) -> None:
        with _turn:
            kept = [found for action in transact_items if (found := _item(backend, action))]
            try:
                with _tables_stand_for_their_copies():
                    write(backend, transact_items)
            except Exception:
                for item in kept:
                    _put_back(*item)
                raise

    return written


@contextmanager
def _tables_stand_for_their_copies() -> Iterator[None]:
    setattr(Table, "__deepcopy__", lambda table, _: table)  # noqa: B010 (types do not know of it)
    try:
        yield
    finally:
        delattr(Table, "__deepcopy__")


def _item(backend: DynamoDBBackend, action: dict[str, Any]) -> tuple[Table, Any, Any, Any] | None:
    """Return the table, the key and a copy of the item that an action is about; None for an action that names none."""
    ((_, about),) = action.items()
    table = backend.tables.get(about.get("TableName"))
    key = about.get("Key") or about.get("Item")
    if table is None or not key:
        return None
    hash_key, range_key = backend.get_keys_value(table, key)
    return table, hash_key, range_key, copy.deepcopy(table.get_item(hash_key, range_key))


def _put_back(table: Table, hash_key: Any, range_key: Any, item: Any) -> None:
    if item is None:
        table.delete_item(hash_key, range_key)
    elif range_key is not None:
        table.items[hash_key][range_key] = item
    else:
        table.items[hash_key] = item


def _mend() -> None:
    turns = dict.fromkeys(("put_item", "update_item", "delete_item"), _one_at_a_time)
    for name, wrapped in {**turns, "transact_write_items": _transaction}.items():
        setattr(DynamoDBBackend, name, wrapped(getattr(DynamoDBBackend, name)))


if __name__ == "__main__":
    _mend()
    main(sys.argv[1:])
