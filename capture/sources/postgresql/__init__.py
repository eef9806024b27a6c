"""PostgreSQL 13 to 18 as a source: `pgoutput` through a replication slot, and chunked `COPY`."""
