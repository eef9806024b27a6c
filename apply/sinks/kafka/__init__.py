"""Changes published again to topics of a Kafka cluster, exactly once by its transactions."""
