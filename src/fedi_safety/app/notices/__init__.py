"""Telling the operator, as configured."""
