"""The documents on the status topic: what the members of each mean.

`capture.progress` and `apply.report` write them, `runtime.status` adds who is speaking.
"""

from __future__ import annotations

from collections.abc import Mapping

Members = Mapping[str, str]
"""What a document's members say, by name."""

EVERY: Members = {
    "component": "who speaks: `capture`, `capture.standby.HOST.PID`, `apply.TARGET.HOST.PID`; the record's key, too",
    "pid": "the process",
    "host": "the machine's name",
    "ts_us": "when it was said, in microseconds since 1970",
    "state": "`starting`, `running`, `paused`, `standby`, `stopped`, `failed`",
    "error": "null, or why it does not go on, or not with all tables: `kind`, `message`, `remedy`, `table`",
}
"""Of all documents; a standby's have no others."""

CAPTURE: Members = {
    "phase": "`full-load`, `streaming`, or `loaded` at the end of mode `full-load`",
    "position": "up to where everything is published, as the source's engine prints it",
    "position_commit": "the same as a number that rises along the log",
    "source_end": "where the source's log ends",
    "source_end_commit": "the same as a number",
    "lag_bytes": "the log between the two; null where the engine does not count bytes",
    "lag_transactions": "the transactions between the two; null where the engine counts bytes",
    "lag_ms": "the age of the last change that was published, while there are more; else 0",
    "retained_bytes": "the log that the source keeps for this capture; null: not known",
    "log_left_bytes": "the log that it may still write before it keeps no more; null: unbounded, or not known",
    "log_bytes_per_s": "how fast the log grows; null: not known yet",
    "sequence": "the last commit sequence",
    "rows": "changes and rows of loads that this process has published",
    "rows_per_s": "the same since the document before, a second",
    "tables": "by table (`schema.table`), see below",
    "signals": "what became of commands, by their ids",
}
"""Of a capture, besides; before its first session only some of them."""

CAPTURE_TABLE: Members = {
    "version": "the version on the schemas topic",
    "topic": "where its changes go",
    "rows_estimated": "the source's estimate; null: it has none",
    "state": "of its full load: `planned`, `loading`, `loaded`, or `suspended`: see `error`",
    "rows_loaded": "rows that the load has read",
    "chunks": "the load's chunks",
    "chunks_done": "those of them that are published",
    "generation": "how often the load was begun from nothing",
}
"""Of a table in `tables` of a capture; the last five where it is loaded."""

APPLY: Members = {
    "target": "the target's name",
    "rows": "changes that this process has applied",
    "rows_per_s": "the same, a second",
    "writing_s": "seconds in which a batch was at the target, since the process began",
    "waiting_s": "of these, seconds in which the process only waited for the target: where these are many, it bounds",
    "cpu_s": "CPU-seconds of the process: much of them, and the applier bounds",
    "lag_records": "records in its partitions that are not durable at the target",
    "lag_ms": "how old the last change was when it had become durable; 0: nothing is left; null: nothing was applied",
    "partitions": "how many it reads",
    "tables": "by topic, see below",
    "parked": "keys whose records wait for an operator, or for the changes since their load (`before-changes`)",
    "conflicts": "rows and tables that wait for others",
    "waits": "for whom some of them wait: `table`, `keys`, `seconds`, `for`",
    "signals": "what became of commands to this target, by their ids",
}
"""Of an applier, besides."""

APPLY_TABLE: Members = {
    "lag_records": "as above, of this table",
    "rows": "as above, of this table",
    "state": "`running`, `suspended`, or `barrier`: it waits for other partitions or appliers",
    "load_completed": "whether the full load is complete at the target",
}
"""Of a table in `tables` of an applier."""
