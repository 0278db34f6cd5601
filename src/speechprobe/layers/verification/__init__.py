"""Speaker verification by every layer: trials, scores, rates with intervals by speaker."""
