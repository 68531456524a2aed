"""What people see in a browser. Pages are text made by pure functions.

Each is complete in itself: no script, no network.
"""
