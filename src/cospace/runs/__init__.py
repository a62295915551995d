"""A run is a folder that describes itself: how it is configured, started, logged, and read again."""
