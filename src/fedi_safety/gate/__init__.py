"""The gate: the HTTP service that judges uploads while the uploader waits."""
