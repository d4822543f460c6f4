"""Who does what from when to when: bouts of actions, and their exchange with other tools."""

# Formats of --export; see exchange.py.
FORMATS = ("boris", "xlsx", "eaf", "via", "cvat", "vtt")
