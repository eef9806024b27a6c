"""Where a replication begins and ends: the settings of each engine, as a source, a target or both."""
