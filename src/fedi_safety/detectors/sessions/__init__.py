"""How a network is run: on what device, from which weights, by which runtime."""
