"""The report of an AVA evaluation: one HTML file that needs nothing else."""
