"""`concepts`: what the detector `clip` looks for, and what an operator's dismissals teach it."""
