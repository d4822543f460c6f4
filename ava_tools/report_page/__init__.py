"""Report of an AVA evaluation as one self-contained HTML file."""
