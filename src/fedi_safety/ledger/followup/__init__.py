"""Whose a condemned content is, and what is done about it through the app. Works in the caller's transaction."""
