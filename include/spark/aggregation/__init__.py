"""Raw events to tiles, roll-ups and windows."""
