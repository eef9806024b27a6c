"""Documents in MongoDB or Amazon DocumentDB, one for each row, written on condition that they are newer."""
