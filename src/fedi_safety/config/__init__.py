"""The configuration: one closed schema, how it is loaded, and the predecessor's names for it."""
