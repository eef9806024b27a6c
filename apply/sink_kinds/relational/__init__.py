"""What relational sinks share: no driver, no dialect."""
