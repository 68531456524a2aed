"""Use cases on top of the ports. They speak to nobody: what a person sees is the shell's (cli/)."""
