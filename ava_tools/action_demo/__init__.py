"""Draw the actions of persons into videos, from files or from a camera."""
