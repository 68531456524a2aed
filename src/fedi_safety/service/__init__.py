"""What processes need to know of the system that they run on."""
