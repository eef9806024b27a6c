"""From records to batches: decoded, collapsed to net changes, projected to the version that the target has."""
