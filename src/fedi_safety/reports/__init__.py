"""Pages that people read in a browser, and the facts behind them. Pages are text made by pure functions.

Each is complete in itself: no script, no network.
"""
