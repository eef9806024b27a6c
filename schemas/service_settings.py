"""Settings of the two services: how each reads and writes, waits and tries again."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from schemas.before_image import BeforeImageSettings
from schemas.control_tables import ControlTableSettings
from schemas.policies import ErrorPolicies, ExistingTables, TableErrorPolicy
from schemas.section import Section
from schemas.substitution import ValueSettings


class CaptureSettings(Section):
    """The capture service. The defaults suit a 2-core machine; memory stays below 300 MiB with them."""

    commit_interval_ms: Annotated[int, Field(ge=1, le=60_000)] = 100
    """How long a Kafka transaction stays open at most before it commits, while the log has more. Where it has no more,
    what was read is committed at once. The longer the log has had more without a break, the nearer to it."""
    commit_rows: Annotated[int, Field(ge=1, le=10_000_000)] = 20_000
    """Rows after which a Kafka transaction commits sooner."""
    commit_bytes: Annotated[int, Field(ge=65_536, le=1 << 32)] = 64 << 20
    """Bytes of records after which a Kafka transaction commits sooner."""
    load_processes: Annotated[int, Field(ge=1, le=64)] = 2
    """Processes that read tables during the full load; each holds one connection."""
    chunk_rows: Annotated[int, Field(ge=100, le=100_000_000)] = 100_000
    """Rows of one chunk of a full load, by estimate: what is read again after a crash."""
    load_attempts: Annotated[int, Field(ge=1, le=1000)] = 5
    """How often the reading of one chunk is tried."""
    table_errors: TableErrorPolicy = TableErrorPolicy.SUSPEND
    """A table that cannot be loaded as things are: rules do not fit it, rights are lacking, or a value cannot be read.
    `suspend`: its load stands still and is tried again, its changes and all other tables go on; or `stop`."""
    suspended_retry_s: Annotated[int, Field(ge=1, le=86_400)] = 30
    """How often a load that stands still is tried again."""
    window_keys_max: Annotated[int, Field(ge=1000, le=100_000_000)] = 500_000
    """Changed keys that are remembered while chunks are being read; beyond, no more of the log is read than these
    chunks need."""
    session_timeout_s: Annotated[int, Field(ge=1, le=1800)] = 10
    """How long after the death of the active capture a standby takes over."""
    transaction_timeout_s: Annotated[int, Field(ge=5, le=900)] = 60
    """After which Kafka aborts a transaction that a dead capture left open."""
    retry_for_s: Annotated[int, Field(ge=0, le=604_800)] = 3600
    """How long a lost source or Kafka is tried again, with back-off, before the service ends with the error."""
    status_interval_s: Annotated[float, Field(ge=0.1, le=300)] = 1.0
    """How often the status topic is written."""
    state_directory: str | None = None
    """Where changes of keyless tables and large values wait in a load. Left out: the system's temporary directory."""


class ApplySettings(Section):
    """The apply service. The defaults suit a 2-core machine; memory stays below 300 MiB with them."""

    batch_rows: Annotated[int, Field(ge=1, le=1_000_000)] = 20_000
    """Most records of one batch, which is one transaction at the target."""
    batch_bytes: Annotated[int, Field(ge=65_536, le=1 << 30)] = 10 << 20
    """Most bytes of one batch, as they stand on the topic but for schemas that records of ours bring. An applier takes
    some seven times as much memory."""
    linger_ms: Annotated[int, Field(ge=0, le=60_000)] = 1
    """How long a batch waits for more records once it has some and the target is idle. While the target works, the next
    batch grows anyway."""
    linger_rows: Annotated[int, Field(ge=2, le=1_000_000)] = 1_000_000
    """Records with which a batch waits no longer."""
    ordering: Literal["per-key", "transactional"] = "per-key"
    """`per-key`: parallel by partition, each key in commit order. `transactional`: source transactions whole and in
    commit order, by one applier at a time while others stand by (docs/ordering.md)."""
    session_timeout_s: Annotated[int, Field(ge=1, le=1800)] = 10
    """How long after the death of an applier the others take over its partitions."""
    batch_timeout_s: Annotated[int, Field(ge=10, le=86_400)] = 900
    """How long one batch may take at the target before the group takes its partitions away."""
    instance_id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """Static group membership: a restart under the same id within the session time-out moves no partitions."""
    retry_for_s: Annotated[int, Field(ge=0, le=604_800)] = 86_400
    """How long a lost target or Kafka is tried again, with back-off, before the service ends with the error."""
    suspended_retry_s: Annotated[int, Field(ge=1, le=86_400)] = 30
    """How often a suspended table is tried again."""
    conflict_wait_s: Annotated[int, Field(ge=0, le=3600)] = 60
    """How long a unique or foreign key that is violated waits for other partitions before it counts as an error."""
    errors: ErrorPolicies = Field(default_factory=ErrorPolicies)
    """Policies for rows that the target refuses."""
    existing_tables: ExistingTables = ExistingTables.KEEP
    """What becomes of a table that a relational target has before its first load: `keep` it with its rows, `empty`
    it, or `drop` it and make it anew."""
    values: ValueSettings = Field(default_factory=ValueSettings)
    """What is done to values before any mapping rule."""
    before_image: BeforeImageSettings | None = None
    """Which values before an update DMS's JSON holds, at Kafka, Kinesis, webhooks and standard output."""
    control_tables: ControlTableSettings = Field(default_factory=ControlTableSettings)
    """Control tables of AWS DMS, at relational targets."""
    stop_after_load: bool = False
    """Whether an applier ends when every table is loaded and what the topics held by then is applied. Capture goes on;
    set it to false and start the applier again, and it does too. Nothing where nothing is loaded (mode `cdc`)."""
    stop_before_changes: bool = False
    """Whether an applier ends when every table is loaded, with what a table's topic holds behind its load not applied.
    A table's rows are written when its load is published whole; `ordering` is `per-key` until then. To go on, set it to
    false and start the applier again. Nothing where nothing is loaded (mode `cdc`)."""
    parked_keys_max: Annotated[int, Field(ge=0, le=1_000_000)] = 10_000
    """Parked keys after which the service stops instead. Those that wait only for changes do not count here."""
    early_keys_max: Annotated[int, Field(ge=0, le=100_000_000)] = 100_000
    """Keys that `stop_before_changes` leaves since they need a later change (a child whose parent is one), after which
    the service stops instead. Each takes some 600 bytes of memory, and the key's own, in every applier."""
    status_interval_s: Annotated[float, Field(ge=0.1, le=300)] = 1.0
    """How often the status topic is written."""
