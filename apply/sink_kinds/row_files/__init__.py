"""Files of changes: what they look like, when one is full, and how each is written exactly once."""
