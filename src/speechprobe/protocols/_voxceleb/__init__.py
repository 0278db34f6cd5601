"""The parts of verification on VoxCeleb."""
