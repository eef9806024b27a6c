"""What operators use: the command line, checks before a run, status, verification."""
