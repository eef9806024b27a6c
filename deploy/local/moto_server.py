"""A program: the server of moto, whose DynamoDB carries out one write after another.

moto copies the table of each action of a transaction, so that fifty rows cost a hundred copies of all that is there:
minutes and gigabytes for some ten thousand items. And a transaction that is cancelled undoes what others wrote
meanwhile. Here the items that a transaction is about are kept, and put back when it is cancelled. Its inserts of
PartiQL copy every table, and write over what is there; here they leave it alone, as DynamoDB's do.
"""

from __future__ import annotations

import copy
import functools
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from moto.dynamodb.exceptions import ConditionalCheckFailed, MockValidationException
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


def _statements(execute: Callable[..., list[dict[str, Any]]]) -> Callable[..., list[dict[str, Any]]]:
    """Developer guide, "PartiQL insert statements"; API reference, `BatchStatementError`."""

    def executed(backend: DynamoDBBackend, statements: list[dict[str, Any]]) -> list[dict[str, Any]]:
        inserts = [_INSERT.fullmatch(statement["Statement"]) for statement in statements]
        if len(statements) > STATEMENTS_MAX:
            raise MockValidationException(f"a batch has {STATEMENTS_MAX} statements at most")
        if not all(inserts):
            return execute(backend, statements)
        pairs = zip(inserts, statements, strict=True)
        return [_insert(backend, insert, statement["Parameters"]) for insert, statement in pairs if insert]

    return executed


STATEMENTS_MAX = 25
_INSERT = re.compile(r"""insert into "([^"]+)" value \{((?:'(?:[^']|'')*': \?(?:, )?)+)\}""")
_NAME = re.compile(r"'((?:[^']|'')*)': \?")


def _insert(backend: DynamoDBBackend, insert: re.Match[str], values: list[Any]) -> dict[str, Any]:
    table, names = insert[1], [name.replace("''", "'") for name in _NAME.findall(insert[2])]
    if table not in backend.tables:
        return {"Error": {"Code": "ResourceNotFound", "Message": "Requested resource not found"}}
    key = {"#key": backend.tables[table].hash_key_attr}
    try:
        backend.put_item(table, dict(zip(names, values, strict=True)), None, "attribute_not_exists(#key)", key)
    except ConditionalCheckFailed:
        return {"Error": {"Code": "DuplicateItem", "Message": "Duplicate primary key exists in table"}}
    except MockValidationException as error:
        return {"Error": {"Code": "ValidationError", "Message": str(error)}}
    return {"TableName": table}


def _mend() -> None:
    turns = dict.fromkeys(("put_item", "update_item", "delete_item"), _one_at_a_time)
    others: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]]
    others = {"transact_write_items": _transaction, "batch_execute_statement": _statements}
    for name, wrapped in {**turns, **others}.items():
        setattr(DynamoDBBackend, name, wrapped(getattr(DynamoDBBackend, name)))


if __name__ == "__main__":
    _mend()
    main(sys.argv[1:])
