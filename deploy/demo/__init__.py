"""The demonstration: a database moves through Kafka into another while it changes and its movers are killed."""
