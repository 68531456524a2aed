"""The predecessor's four scripts: its names, options and variables on top of our commands."""
