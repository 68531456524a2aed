"""Other people's wire protocols and nothing else, one file per program that is spoken to."""
