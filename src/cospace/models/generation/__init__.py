"""Align, then fuse: a decoder that attends to an item's tokens while it writes a caption or an answer."""
