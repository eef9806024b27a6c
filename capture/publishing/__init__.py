"""From changes to records in Kafka transactions, with the schemas, ids and sizes that this takes.

- `publisher` is the data path, with a `feed` for each table. `transactions` counts what it publishes,
  `transaction_limits` bounds a Kafka transaction.
- `shapes` makes other records than envelopes, `outbox` messages; `large_records` go out in parts.
- `schemas_topic`: the versions of tables. `registration`: their ids in a registry.
- `hanging`: what brokers owe an end.
"""
