"""How messages put things: commands to type, and words that somebody will have meant."""
