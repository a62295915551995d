"""How good a space is, from vectors and plain data alone.

Nothing here knows the model, the run or the files: functions take tensors, group ids and words, and give ``Metrics``
(flat names to numbers) or the parts of a report. Scores are cosines; every function normalises what it is given and
refuses rows that are not finite, so that a broken model is an error and never a score. Ties count against the model,
so that a collapsed one scores at or below chance.
"""
