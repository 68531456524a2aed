"""How pictures become frames, and which frames and parts of them go on."""
