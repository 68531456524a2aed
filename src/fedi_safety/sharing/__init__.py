"""Lists that instances give each other: the signed log of changes, what a subscriber believes of it, and their files."""
