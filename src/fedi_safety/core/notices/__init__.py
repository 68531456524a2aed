"""What the operator is told once: which changes, and in which words. Sends nothing."""
