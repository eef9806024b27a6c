"""What both services share and that touches the world: Kafka, time, processes, metrics, logs, configuration."""
