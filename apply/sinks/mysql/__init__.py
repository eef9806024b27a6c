"""MySQL 8 and later and MariaDB 10.6 and later as targets, through PyMySQL."""
