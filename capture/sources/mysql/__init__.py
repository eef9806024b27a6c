"""MySQL 8 and 9 and MariaDB 10.6 to 11 as sources."""
