"""The Flask front end: HTTP in, one call into `ca`, HTTP out."""
