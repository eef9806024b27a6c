"""Table schemas: what a reader of a topic must know of a table to decode its rows and to make it anew.

A schema is immutable. Any change of a table makes a new `version`; each version is published once to the schemas
topic, and is enough to decode and to apply without the source or a registry.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

from schemas.types import LogicalType


class TableName(NamedTuple):
    """A table's qualified name, unquoted, exactly as the source spells it."""

    schema: str
    table: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.table}"


Part = tuple[tuple[str, str | int], ...]
"""Tells some rows of a table from all others: the values of columns, by name."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column that rows carry."""

    name: str
    type: LogicalType
    native: str
    """The type as its source writes it, with modifiers: `numeric(12,2)`, `shop.mood`, `text[]`."""
    nullable: bool = True
    default: str | None = None
    """The default as the source writes it, or None. A sequence's default is left out: the target has no such one."""
    identity: str = ""
    """`''`, `always` or `by default`."""
    collation: str | None = None
    number: int = 0
    """The engine's lasting number of the column (PostgreSQL: attnum), by which a rename is told from a drop and an
    add; 0 where the engine has none, or it is not known."""
    filling: str | None = field(default=None, compare=False)
    """What rows hold that were there when the column was added, as text, where the source keeps that apart from them
    (PostgreSQL: `attmissingval`); None where they hold null or values of their own. Not part of the fingerprint."""
    from_sequence: str | None = field(default=None, compare=False)
    """The default that `default` leaves out, since it asks a sequence. Not part of the fingerprint."""
    loosened: bool = field(default=False, compare=False, metadata={"document": False})
    """Whether nulls are allowed only for rows of earlier versions: a target that refuses them can be written to."""
    fillings: tuple[tuple[Part, str | None], ...] = field(default=(), compare=False, metadata={"document": False})
    """Where several tables of the source are one at the target: of whose rows it is another `filling`, and which."""


@dataclass(frozen=True, slots=True)
class GeneratedColumn:
    """A column that the database computes. Rows don't carry it; the target computes its own."""

    name: str
    native: str
    expression: str
    position: int
    """Where it stands among all columns, from 0."""


@dataclass(frozen=True, slots=True)
class Index:
    """A secondary index (never the primary key's)."""

    name: str
    unique: bool
    definition: str
    """What follows the table's name in `create index … on TABLE`: `using btree (a, lower(b)) where c > 0`."""
    constraint: bool = False
    """True for a unique constraint: a foreign key may refer to it."""
    deferrable: bool = False


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key to another table of the same database."""

    name: str
    columns: tuple[str, ...]
    target: TableName
    target_columns: tuple[str, ...]
    on_delete: str = "no action"
    on_update: str = "no action"
    deferrable: bool = False


@dataclass(frozen=True, slots=True)
class UserType:
    """A user-defined type that columns of a table need at the target, in an order in which they can be created."""

    schema: str
    name: str
    kind: str
    """`enum`, `domain`, `composite`, `range`, or `extension` (then `definition` names the extension)."""
    labels: tuple[str, ...] = ()
    """The values of an enum, in order."""
    definition: str = ""
    """What follows `create domain NAME as` or the inside of `create type NAME as (…)` and `as range (…)`."""


@dataclass(frozen=True, slots=True)
class TableSchema:
    """One version of one table."""

    name: TableName
    columns: tuple[Column, ...]
    """The columns that rows carry, in row order."""
    key: tuple[int, ...]
    """Indexes into `columns` of the row identity: the primary key, or the replica identity index. Empty: none."""
    version: int = 1
    primary_key: bool = True
    """Whether `key` is the primary key (False: a unique index that serves as the identity)."""
    full_before: bool = False
    """Whether updates and deletes carry the whole old row (PostgreSQL: replica identity full)."""
    loose_key: bool = False
    """Whether keys that the source holds equal may differ in their bytes (citext, jsonb, a nondeterministic collation),
    so that only one partition keeps their order."""
    partitions: tuple[int, ...] = ()
    """Of a partitioned table: what the source calls the leaves that hold its rows (PostgreSQL: oids)."""
    attached: tuple[int, ...] = ()
    """Those that were tables of their own before: what they held then, no log has told as rows of this table."""
    placed: tuple[int, ...] = ()
    """For each of `partitions` a number that is another one once it was detached and attached again; empty: unknown."""
    generated: tuple[GeneratedColumn, ...] = ()
    indexes: tuple[Index, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    user_types: tuple[UserType, ...] = ()
    comment: str | None = None
    engine: str = "postgresql"
    number: int = 0
    """The engine's lasting number of the table (PostgreSQL: its oid), by which one that was dropped and made anew is
    told from one that has changed; 0 where the engine has none."""
    life: int = 1
    """Goes up whenever what was published before is void, as the truncate says that stands between: the table was made
    anew, or its rows are identified by another key. Given by capture, not part of the fingerprint."""
    is_view: bool = False
    """Whether it is a view or a materialised view: its rows are loaded once, and no log tells how they change. Not part
    of the fingerprint."""
    storage: int = 0
    """A number that changes when all rows are written anew without the log saying so (PostgreSQL: the file's number);
    0 where it is not known. Not part of the fingerprint."""
    leaf_storage: tuple[int, ...] = ()
    """The same for each of `partitions`, whose table has none of its own. Not part of the fingerprint."""
    at_source: TableSchema | None = None
    """The table as the source has it, where capture makes something else of its columns; None: it is as it is there."""
    made_by: str = ""
    """A digest of the rules by which capture makes it of `at_source`: other rules make another version."""
    key_made_by: str = ""
    """The same of those that make the key's values: other ones make other rows of all that are there."""
    follows: int = 0
    """The version since which appliers alone have altered the table, or made it, after the side that the targets are
    on; 0: it is the source's own. Given by capture, not part of the fingerprint."""
    renamed_from: TableName | None = field(default=None, compare=False)
    """How the source calls a table to which a target's mapping rules give another name. No part of the table."""
    _fingerprint: list[str] = field(default_factory=list, init=False, repr=False, compare=False, hash=False)

    @property
    def source_form(self) -> TableSchema:
        """The table as the source has it."""
        return self.at_source or self

    @property
    def source_name(self) -> TableName:
        """How the source calls the table."""
        return self.renamed_from or self.name

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of `columns`."""
        return tuple(column.name for column in self.columns)

    @property
    def key_names(self) -> tuple[str, ...]:
        """The names of the key's columns."""
        return tuple(self.columns[i].name for i in self.key)

    @property
    def spreads(self) -> bool:
        """Whether rows may go to several partitions: by a key whose equal values have equal bytes."""
        return bool(self.key) and not self.loose_key

    @property
    def is_entangled(self) -> bool:
        """Whether a unique index besides the key lets a row's change depend on that of a row with another key."""
        return sum(index.unique for index in self.indexes) > (not self.primary_key)

    @property
    def knows_storage(self) -> bool:
        """Whether it is known where the rows are stored."""
        return bool(self.storage or any(self.leaf_storage))

    def is_rewritten(self, since: TableSchema) -> bool | None:
        """Tell whether the rows of an earlier version were written anew; None: nothing tells.

        Columns are altered in all partitions or in none: if one that stayed has its storage still, no values changed.
        One that was away meanwhile proves nothing: it was altered by itself.
        """
        then, now = since._places(), self._places()
        stayed = [now[place] != number for place, number in then.items() if number and now.get(place)]
        return all(stayed) if stayed else None

    def _places(self) -> dict[tuple[int, int], int]:
        leaves = zip(self.partitions, self.placed, self.leaf_storage, strict=False)
        return {(0, 0): self.storage, **{(part, placed): number for part, placed, number in leaves}}

    def differs_in_partitions_alone(self, other: TableSchema) -> bool:
        """Tell whether another version has all that this one has but its partitions."""
        return self._without_partitions().fingerprint == other._without_partitions().fingerprint

    def _without_partitions(self) -> TableSchema:
        inner = self.at_source and self.at_source._without_partitions()
        return replace(self, partitions=(), attached=(), placed=(), at_source=inner)

    @property
    def fingerprint(self) -> str:
        """A hash of all that makes a version: equal for equal tables."""
        if not self._fingerprint:
            document = self.to_document()
            for name in ("version", "life", "storage", "is_view"):
                del document[name]
            for name in ("follows", "leaf_storage"):
                document.pop(name, None)
            for column in document["columns"]:
                del column["filling"], column["from_sequence"]
            if self.at_source is not None:
                document["at_source"] = self.at_source.fingerprint
            text = json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
            self._fingerprint.append(hashlib.sha256(text.encode()).hexdigest()[:32])
        return self._fingerprint[0]

    def to_document(self) -> dict[str, Any]:
        """Return the JSON document that the schemas topic keeps."""
        document = {f.name: _plain(getattr(self, f.name)) for f in fields(self) if f.name not in _NOT_PLAIN}
        document |= {name: _plain(value) for name in _SELDOM if (value := getattr(self, name))}
        if self.at_source is None:
            return document
        made = {"at_source": self.at_source.to_document(), "made_by": self.made_by, "key_made_by": self.key_made_by}
        return document | made

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> TableSchema:
        """Return the schema that `to_document` wrote. Unknown members, of a later release, are ignored.

        Raises KeyError or TypeError for a document that is no table schema.
        """
        return cls(
            name=TableName(*document["name"]),
            columns=tuple(
                Column(**{**_known(Column, c), "type": LogicalType.from_document(c["type"])})
                for c in document["columns"]
            ),
            key=tuple(document["key"]),
            version=document["version"],
            primary_key=document["primary_key"],
            full_before=document["full_before"],
            loose_key=document.get("loose_key", False),
            partitions=tuple(document.get("partitions", ())),
            attached=tuple(document.get("attached", ())),
            placed=tuple(document.get("placed", ())),
            generated=tuple(GeneratedColumn(**_known(GeneratedColumn, g)) for g in document.get("generated", ())),
            indexes=tuple(Index(**_known(Index, i)) for i in document.get("indexes", ())),
            foreign_keys=tuple(
                ForeignKey(
                    **{
                        **_known(ForeignKey, k),
                        "columns": tuple(k["columns"]),
                        "target": TableName(*k["target"]),
                        "target_columns": tuple(k["target_columns"]),
                    }
                )
                for k in document.get("foreign_keys", ())
            ),
            user_types=tuple(
                UserType(**{**_known(UserType, u), "labels": tuple(u["labels"])})
                for u in document.get("user_types", ())
            ),
            comment=document.get("comment"),
            engine=document.get("engine", "postgresql"),
            number=document.get("number", 0),
            life=document.get("life", 1),
            is_view=document.get("is_view", False),
            storage=document.get("storage", 0),
            leaf_storage=tuple(document.get("leaf_storage", ())),
            at_source=cls.from_document(document["at_source"]) if document.get("at_source") else None,
            made_by=document.get("made_by", ""),
            key_made_by=document.get("key_made_by", ""),
            follows=document.get("follows", 0),
        )


def mentions(text: str, columns: Collection[str]) -> bool:
    """Tell whether a piece of SQL, an index's definition or an expression, may speak of any of these columns."""
    # Quotation marks in a name are doubled within others.
    patterns = (re.sub('(["`])', r"\1+", re.escape(column)) for column in columns)
    return any(re.search(rf"(?<!\w){pattern}(?!\w)", text, re.IGNORECASE) for pattern in patterns)


_SELDOM = "follows", "placed", "leaf_storage"
"""What documents have only where there is something to say."""
_NOT_PLAIN = frozenset({"at_source", "made_by", "key_made_by", *_SELDOM, "renamed_from", "_fingerprint"})


def _plain(value: Any) -> Any:
    if isinstance(value, LogicalType):
        return value.to_document()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "__dataclass_fields__"):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value) if f.metadata.get("document", True)}
    return value


def _known(cls: type, document: dict[str, Any]) -> dict[str, Any]:
    names = {f.name for f in fields(cls)}
    return {name: value for name, value in document.items() if name in names}
