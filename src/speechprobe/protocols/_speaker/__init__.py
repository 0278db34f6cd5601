"""The parts of training speaker networks."""
