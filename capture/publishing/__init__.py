"""From changes to records in Kafka transactions, with the schemas, ids and sizes that this takes."""
