"""`hashes`: lists of known images."""
