"""What each logical type is in a `copy … (format binary)` and in a staging table.

One entry per family: the staging column's type, the fragment that makes its bytes of a canonical value, and the target
types that take the same bytes directly. Formats: the `*_send` / `*_recv` functions under src/backend/utils/adt, and
"COPY, Binary Format" in the PostgreSQL manual. Types without a binary fragment are staged as text and cast by the
merge, which reads them as PostgreSQL's own input functions do.
"""

from __future__ import annotations

from dataclasses import dataclass

from apply.sinks.postgresql.numeric import FIXED_SCALE_MAX, encode_decimal, unscaled_encoder
from schemas.twin import kinds
from schemas.types import Family, LogicalType

POSTGRESQL_EPOCH_US = 946_684_800_000_000
"""2000-01-01 in microseconds since 1970: where PostgreSQL's timestamps begin."""
POSTGRESQL_EPOCH_DAYS = 10_957

TIMESTAMP_INFINITY = 9223372036825200000
TIMESTAMP_MINUS_INFINITY = -9223372036832400000
_INT64_MAX, _INT64_MIN = 2**63 - 1, -(2**63)
_INT32_MAX, _INT32_MIN = 2**31 - 1, -(2**31)

TEXT_LIKE = frozenset({"text", "varchar", "bpchar", "name", "citext"})
"""Target types (their names in pg_type) whose binary form is the text itself."""


@dataclass(frozen=True, slots=True)
class Wire:
    """How a column's value becomes a field.

    `fixed` is the letter for `struct` of a value of constant size (then `expression` gives the value to pack); without
    it `expression` gives the bytes, or the whole field with its length where `framed`. `{v}` stands for the value.
    """

    stage: str
    expression: str
    fixed: str = ""
    size: int = 0
    framed: bool = False
    direct: frozenset[str] = frozenset()
    """Names in pg_type of target types that take these bytes as they are."""
    is_text: bool = False
    """Whether the value is a text, which `expression` encodes; its UTF-8 bytes are the field."""
    scale: int | None = None
    """Of unscaled integers for which `numeric.FIXED` is a shape that most of them fit in."""
    lead: int | None = None
    """A byte that stands before the value in the field."""
    casts: bool = False
    """Whether the merge must cast to the target's type, since no assignment cast leads there from `stage`."""

    def kind(self, type_: LogicalType) -> int:
        """Return as what the compiled twin sends values of a type (`schemas.twin.kinds`)."""
        if self.is_text:
            return kinds.TEXT if self.lead is None else kinds.VERSIONED
        return kinds.kind_of(type_)


def timestamp_field(value: int) -> int:
    """Return a timestamp outside the common range as PostgreSQL counts it: infinities, and what wrapped at 2**64."""
    if value == TIMESTAMP_INFINITY:
        return _INT64_MAX
    if value == TIMESTAMP_MINUS_INFINITY:
        return _INT64_MIN
    count = value - POSTGRESQL_EPOCH_US
    return count + 2**64 if count < _INT64_MIN // 2 else count


def date_field(value: int) -> int:
    """Return a date outside the common range as PostgreSQL counts it: the infinities are the int32 extremes."""
    if value in {_INT32_MAX, _INT32_MIN}:
        return value
    return value - POSTGRESQL_EPOCH_DAYS


def uuid_field(value: str) -> bytes:
    """Return the 16 bytes of a UUID. Raises ValueError for anything else."""
    octets = bytes.fromhex(value.replace("-", ""))
    if len(octets) != 16:
        raise ValueError(f"a UUID has 16 bytes, not {len(octets)}")
    return octets


NAMESPACE = {
    "timestamp_field": timestamp_field,
    "date_field": date_field,
    "uuid_field": uuid_field,
    "encode_decimal": encode_decimal,
}
"""What expressions may call. `unscaled_N` is added for each scale in use."""

_TIMESTAMP = (
    f"{{v}} - {POSTGRESQL_EPOCH_US} if -4611686018427387904 < {{v}} < 4611686018427387904 else timestamp_field({{v}})"
)
_DATE = f"{{v}} - {POSTGRESQL_EPOCH_DAYS} if -1073741824 < {{v}} < 1073741824 else date_field({{v}})"


def _only(*names: str) -> frozenset[str]:
    return frozenset(names)


def _text(*, direct: frozenset[str] = frozenset(), casts: bool = False) -> Wire:
    return Wire("text", "{v}.encode()", is_text=True, direct=direct, casts=casts)


_WIRES: dict[Family, Wire] = {
    Family.BOOLEAN: Wire("boolean", "{v}", "?", 1, direct=_only("bool")),
    Family.INT16: Wire("smallint", "{v}", "h", 2, direct=_only("int2")),
    Family.INT32: Wire("integer", "{v}", "i", 4, direct=_only("int4")),
    Family.INT64: Wire("bigint", "{v}", "q", 8, direct=_only("int8")),
    Family.UINT32: Wire("oid", "{v}", "I", 4, direct=_only("oid")),
    Family.FLOAT32: Wire("real", "{v}", "f", 4, direct=_only("float4")),
    Family.FLOAT64: Wire("double precision", "{v}", "d", 8, direct=_only("float8")),
    Family.NUMERIC: Wire("numeric", "encode_decimal({v})", framed=True, direct=_only("numeric")),
    Family.STRING: _text(direct=TEXT_LIKE),
    Family.BYTES: Wire("bytea", "{v}", direct=_only("bytea")),
    Family.DATE: Wire("date", _DATE, "i", 4, direct=_only("date")),
    Family.TIME: Wire("time", "{v}", "q", 8, direct=_only("time")),
    Family.TIMETZ: _text(casts=True),
    Family.TIMESTAMP: Wire("timestamp", _TIMESTAMP, "q", 8, direct=_only("timestamp")),
    Family.TIMESTAMPTZ: Wire("timestamptz", _TIMESTAMP, "q", 8, direct=_only("timestamptz")),
    Family.INTERVAL: _text(casts=True),
    Family.UUID: Wire("uuid", "uuid_field({v})", "16s", 16, direct=_only("uuid")),
    Family.JSON: _text(direct=TEXT_LIKE | {"json"}, casts=True),
    Family.XML: _text(casts=True),
    Family.ENUM: _text(direct=TEXT_LIKE | {"enum"}, casts=True),
    Family.TEXT: _text(casts=True),
}

_UNSIGNED_AS_BIGINT = Wire("bigint", "{v}", "q", 8, direct=_only("int8"))

_JSONB = Wire("jsonb", "{v}.encode()", is_text=True, lead=1, direct=_only("jsonb"))
"""`jsonb_recv` wants a version number, 1, before the text."""


def wire_of(type_: LogicalType) -> Wire:
    """Return how values of a type are sent to the staging table."""
    if type_.family is Family.DECIMAL or type_.family is Family.UINT64:
        scale = type_.scale or 0
        fixed = scale if scale <= FIXED_SCALE_MAX else None
        return Wire("numeric", f"unscaled_{scale}({{v}})", framed=True, direct=_only("numeric"), scale=fixed)
    return _WIRES[type_.family]


def direct_wire(type_: LogicalType, target: str) -> Wire | None:
    """Return how values are sent straight into a target column, or None if they must be staged and cast.

    `target` is the column's type as pg_type names it, domains resolved, and `enum` for any enumeration.
    """
    wire = wire_of(type_)
    if target in wire.direct:
        return wire
    if type_.family is Family.JSON and target == "jsonb":
        return _JSONB
    if type_.family is Family.UINT32 and target == "int8":
        return _UNSIGNED_AS_BIGINT
    return None


def function(name: str) -> object:
    """Return a function that an expression calls by name."""
    if name.startswith("unscaled_"):
        return unscaled_encoder(int(name.removeprefix("unscaled_")))
    return NAMESPACE[name]
