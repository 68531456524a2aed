"""Images that are known: perceptual hashes."""
