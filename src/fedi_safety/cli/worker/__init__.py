"""`worker`: the command, and how its process lives."""
