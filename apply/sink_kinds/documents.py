"""Changes as JSON documents: what sinks have in common that hand each change on as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import orjson

from apply.sink import TableBatch
from apply.sink_kinds.folding import Told, fitting
from schemas.before_image import BeforeImageSettings
from schemas.changes import UNCHANGED, Row
from schemas.dms_json import OPERATIONS, Document, document_writer
from schemas.errors import ErrorKind, TailraceError
from schemas.mappings.objects import ObjectTable
from schemas.per_table import PerTable
from schemas.table import TableSchema
from schemas.types.plain import canonical, key_plain

KeyMaker = Callable[[Row | None], str | None]
"""From a row to its partition key; None for what has none of its own."""


class Documents:
    """Makes the document of each change of a batch."""

    def __init__(self, image: BeforeImageSettings | None = None) -> None:
        self._writers = PerTable(partial(document_writer, image=image))

    def encode(self, batch: TableBatch) -> list[bytes]:
        """Return a document for each item of `sequence`."""
        write, dumps = self._writers(batch.table), orjson.dumps
        return [
            dumps(write(op, before, after, seq, us, txid))
            for (op, before, after), (_, _, seq, us, txid, *_) in zip(
                batch.sequence, batch.origins["sequence"], strict=True
            )
        ]


def key_maker(table: TableSchema, *, qualified: bool) -> KeyMaker:
    """Return what makes partition keys: the key's value, or those of a compound key with points between them.

    A `qualified` one begins with the table's name.
    """
    prefix = f"{table.name}." if qualified else ""
    forms = [(i, key_plain(table.columns[i].type)) for i in table.key]
    if len(forms) == 1:
        ((only, form),) = forms

        def single(row: Row | None) -> str | None:
            return None if row is None or (value := row[only]) is UNCHANGED else f"{prefix}{form(value)}"

        return single

    def key(row: Row | None) -> str | None:
        if row is None or not forms or any(row[i] is UNCHANGED for i, _ in forms):
            return None
        return prefix + ".".join(str(form(row[i])) for i, form in forms)

    return key


def reshape(
    objects: ObjectTable, document: Document, row: Row, before: Row | None, image: BeforeImageSettings | None
) -> None:
    """Give a document's rows the members that a rule of object mapping says; a before image loses columns only."""
    document["data"] = objects.shape(document["data"], row)
    if image is None and before is not None and "before" in document:
        document["before"] = objects.shape(document["before"], before)
    elif image is not None and image.field in document:
        names = {objects.column_names[place] for place in objects.columns}
        document[image.field] = {name: value for name, value in document[image.field].items() if name in names}


_OPS = {name: op for op, name in OPERATIONS.items()}


def told(table: TableSchema, documents: Iterable[bytes]) -> Iterator[Told]:
    """Yield a table's changes as documents say them; those of others, and control records, are left out.

    Raises TARGET_SCHEMA for what is no document of ours.
    """
    forms = [(column.name, fitting(canonical(column.type))) for column in table.columns]
    for content in documents:
        try:
            document = orjson.loads(content)
            about = document["metadata"]
            if (about["schema-name"], about["table-name"]) != table.name or "control" in document:
                continue
            op = _OPS[about["operation"]]
            names = table.key_names if op == "d" else table.column_names
            known = set(names) - set(document.get("unavailable", ()))
            values = _values(document.get("data", {}), [(name, form) for name, form in forms if name in known])
            yield Told(op, values, 0, about["commit-sequence"])
        except (ValueError, KeyError, TypeError, ArithmeticError) as error:
            raise TailraceError(
                ErrorKind.TARGET_SCHEMA,
                f"a document cannot be read as a change of the table ({type(error).__name__})",
                table=str(table.name),
            ) from error


def _values(data: dict[str, Any], forms: list[tuple[str, Callable[[Any], Any]]]) -> dict[str, Any]:
    """Return canonical values. A member that is not there is null: `include_null_and_empty` leaves those out."""
    return {name: None if data.get(name) is None else form(data[name]) for name, form in forms}
