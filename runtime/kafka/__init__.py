"""The only code that speaks to Kafka. librdkafka's errors become `TailraceError` here, by code."""
