"""Recipes: one file per reproducible result, found by its name.

``RECIPE`` is plain data for :class:`cospace.runs.settings.RunConfig`. The first paragraph of a file says what the
recipe is for, in one line; the rest is what was measured with it, where, when, and in how many runs.
"""
