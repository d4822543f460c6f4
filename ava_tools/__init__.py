"""Command-line tools of avsf_det, and the packages that support them."""
