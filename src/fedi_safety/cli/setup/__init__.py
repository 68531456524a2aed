"""`init`: setting up. What it asks, what it tries, where it writes."""
