"""What verdicts rest on: what was found where, and which detectors were not asked. Pure; decides nothing."""
