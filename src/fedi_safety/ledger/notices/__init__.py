"""What the operator is told: written with what it tells of, sent by whoever takes it."""
