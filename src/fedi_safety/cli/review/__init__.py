"""`review`: the pages on this machine, and passwords for elsewhere."""
