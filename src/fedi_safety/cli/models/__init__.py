"""`models`: what is in the models directory, and how it gets there."""
