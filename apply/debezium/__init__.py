"""Topics that a Debezium connector wrote, instead of a capture of ours."""
