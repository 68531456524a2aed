"""Kept counters: what a report tells is read from few rows, however many objects there are."""
