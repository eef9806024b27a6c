"""The capture service: one source database, its rows and its log, published to Kafka topics exactly once.

In the order in which to read it:

- `service`: `leadership`, then one `session` after the other. `checkpoints` is what is known of the last one, `bounds`
  where the first begins and the last ends.
- `full_load`: rows, read in chunks beside the log.
- `publishing`: changes in Kafka transactions, which `commit_pacing` ends. Before: `joining`, `cutting`, `filters`.
- `tables`: what is known of each; `schema_changes` when they change, by what lies between `table_versions`;
  `announcing` what readers are told, `named_tables` what was misspelt.
- `signals`: what operators ask for. `progress`: what it says of itself.
- `source`: what an engine must offer. `sources`: the engines; before one may stand `mapped_source`.
"""
