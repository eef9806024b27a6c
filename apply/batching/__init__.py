"""From records to batches: decoded, collapsed to net changes, projected to the version that the target has.

- `builder` fills a `batch` with the `net_change` of each table's keys.
- `versions` says which one the target is to have, `projection` brings rows to it.
- `first_changes`: what they began with. `staged_rows`: rows that a decoder made what the sink sends.
- `parked_keys`: records that queue behind a parked one. `incomplete_inserts`: rows of which nobody could tell all.
- For commit order: the `reorder_buffer`, and the `mark_counts` of records that are here.
"""
