"""Tables of Amazon Redshift: rows pass through a bucket, and are merged with the offsets in one transaction."""
