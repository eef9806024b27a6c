"""The contract between capture and apply: table schemas, types, codecs, topics, errors.

Pure Python without I/O. Every other package may import this one; it imports none of them.

- What moves: `table`, `types`, `changes`, `position`, `matching` columns of two versions, `large_values`.
- How it is written: `envelope`, `format`, `codecs` made `per_table` and their compiled `twin`, `bundles` of records,
  `registry`, `parts`. What codecs must know of the bytes of sources and sinks: `row_forms`.
  How others write it: `debezium`, `dms_json`.
- Where: `topics`. Records of Tailrace's own: `ddl`, `transactions`, `signals`, `status`.
- What users write: `settings` in each `section`; `endpoints`, an engine each; `service_settings`, `topic_settings`,
  `kafka_properties`, `policies`; `json_text` and `key_bounds` read what they wrote, `reference` makes their page.
- What follows from that for a table: `selection`, `routing`, `substitution`, `before_image`; `loopback` is how appliers
  mark what must not come back.
- Documents of AWS DMS: `mappings`, `graph_mapping`, `task_settings`, `endpoint_settings`, `control_tables`, and
  `task_document`, which finds them in what its commands print; `dms_documents` puts what they say into `settings`.
- What is said of trouble: `errors`, `findings`, `hints`.
"""
