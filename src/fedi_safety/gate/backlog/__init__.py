"""Uploads that were let in without a verdict, until they have one."""
