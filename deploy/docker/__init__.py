"""Container files: the services' image, and what `docker-compose.yml` runs beside them."""
