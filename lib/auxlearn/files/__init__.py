"""Files that came from anyone: bounded reading, whole-or-nothing writing. No meaning of what they hold."""
