"""Who does what from when to when: bouts of actions, and their exchange with other tools."""
