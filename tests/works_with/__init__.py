"""Other people's programs at the other end of the topics: `make works-with`."""
