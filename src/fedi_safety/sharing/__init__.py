"""Lists that instances give each other: the signed log of changes, its files, and what a subscriber checks of it."""
