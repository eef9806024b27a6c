"""Files of changes in a bucket."""
