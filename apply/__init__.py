"""The apply service: topics consumed into one target, with consumer offsets as checkpoints.

In the order in which to read it:

- `service`: the rhythm of one group's member. `assembly` puts its parts together, with `limits` and `subscription`.
- `applier`: one step after the other. `claims` says what is its own, `cursors` and `flow` where it reads, `order` and
  `commit_order` what may follow what, `brokers` what Kafka knows beside the records, `recovery` what follows an error.
- `batching`: from records to batches, by `schema_catalog` and `schema_stand_ins`; of Debezium's topics by `debezium`.
- `writer`: a batch in one transaction, by `rows`, `grouping` and `prepared`, in the `writer_thread`. `outcome` is what
  became of it.
- `error_handling`: what the target refused, or cannot take yet. `errors` are those of which more than their kind
  decides. `truncates`: where all appliers of a table meet.
- `completion`: ends of loads, at `barriers` of all appliers. `goal`: the end of the service. `report`, and
  `dms_control_tables` where they are wanted: what it says of itself.
- `sink`: what a target must offer, and a `row_reader` to be compared. `sinks`: the targets; `sink_kinds`: what those of
  one kind share; `aws` what several need. Before a sink may stand `mapped_sink` with
  `mapped_rows` and `sharing`, and `values`.
"""
