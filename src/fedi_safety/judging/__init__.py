"""Who judges an upload: shared by the gate and the worker. Knows no HTTP server."""
