"""The contract between capture and apply: table schemas, types, codecs, topics, errors.

Pure Python without I/O. Every other room may import this one; it imports none of them.

What moves:    `table`, `types/`, `changes`, `position`, `matching`, `large_values`
How it is      `envelope`, `codecs/` with their compiled `twin/`, `registry`, `parts`; as others write it:
written:       `debezium/`, `dms_json`
Topics:        `topics`; of other records: `ddl`, `transactions`, `signals`, `status`
What users     `settings` with `endpoints/`, an engine each, `topic_settings`, `policies`, `kafka_properties`, and what
write:         follows from them: `selection`, `routing`, `substitution`, `before_image`; `reference` makes their page
DMS's own      `mappings/`, `task_settings/`, `endpoint_settings/`, `graph_mapping`, `control_tables`;
documents:     `task_document` takes them out of what its API says
What is said   `errors`, `findings`, `hints`
of trouble:
"""
