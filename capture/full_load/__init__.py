"""The full load beside the log: chunks read by processes, their rows let in when they are right."""
