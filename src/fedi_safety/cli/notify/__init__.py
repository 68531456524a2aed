"""`notify ...`: who is told, and what waits to be told."""
