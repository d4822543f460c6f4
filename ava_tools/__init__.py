"""Command-line tools around the detector, and the packages that support them."""
