"""The capture service: one source database, its rows and its log, published to Kafka topics exactly once."""
