"""The gate: judges uploads while the uploader waits, and the workers that judge for remote gates."""
