"""The index of perceptual hashes: which of many are within so many bits of some. It knows rows, no list's terms."""
