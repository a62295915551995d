"""Training: one loop on one screen, and what it stands on.

``loop`` takes a space, an objective, batches and callables to report to; it knows no data set, no metric and no
recipe. ``optim`` holds the optimizers and the schedule, ``checkpoint`` the exact state of a run on disk.
"""
