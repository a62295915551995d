"""Align, then fuse: a decoder that looks at a picture's tokens while it writes a caption or an answer."""
