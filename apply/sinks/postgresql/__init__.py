"""PostgreSQL 13 and later as a target, through psycopg 3."""
