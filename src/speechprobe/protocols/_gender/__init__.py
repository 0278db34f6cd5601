"""The parts of the gender study."""
