"""What the program knows, without any I/O: types, policy, decisions, and the order of the work.

Standard library only; nothing here opens a file, a socket or a database.
"""
