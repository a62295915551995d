"""The verbs, one file each: what the command line, ``import cospace`` and the service have in common."""
