"""Documents in OpenSearch, one for each row, guarded by external versions."""
