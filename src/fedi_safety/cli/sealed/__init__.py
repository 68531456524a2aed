"""Commands about sealed copies: what is done where the operator's key is, and how long copies are kept."""
