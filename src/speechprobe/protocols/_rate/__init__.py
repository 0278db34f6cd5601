"""The parts of the speaking-rate study."""
