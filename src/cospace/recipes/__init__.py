"""Recipes: one file per reproducible result. ``RECIPE`` is plain data for
:class:`cospace.experiment.settings.Experiment`; the header says the command, the hardware, the time, the score and
how many runs it was seen in.
"""
