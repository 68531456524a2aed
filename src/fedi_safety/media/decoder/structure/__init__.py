"""Containers, looked into without decoding: what they declare, and what lies hidden in or behind them."""
