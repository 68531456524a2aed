"""The child: everything that touches untrusted bytes. The parent (`fedi_safety.media`) never imports it."""
