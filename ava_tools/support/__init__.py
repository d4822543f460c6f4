"""Small helpers that several tools share."""
