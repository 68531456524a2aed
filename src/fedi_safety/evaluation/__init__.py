"""What a policy or a model does on a sample. Acts on nothing and writes no ledger."""
