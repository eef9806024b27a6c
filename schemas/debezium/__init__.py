"""What Debezium writes: its schemas as table schemas, and its records as rows.

The facts are those of Debezium's documentation ("PostgreSQL connector" and "MySQL connector", "Data change events" and
"Data types") and of records that its connectors wrote (`tests/recorded/debezium`).
"""
