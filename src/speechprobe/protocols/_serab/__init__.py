"""The parts of SERAB."""
