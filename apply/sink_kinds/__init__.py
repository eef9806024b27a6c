"""What kinds of sinks have in common: relational ones, guarded states, histories of every change, files of rows."""
