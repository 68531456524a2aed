"""How servers ask the gate: what they send, and what they want to hear."""
