"""The wiring: the only place that knows every folder. One file per verb.

``settings`` is the root configuration; ``train``, ``evaluate``, ``search`` and ``demo`` are what the command line and
``import cospace`` offer; ``model`` is a trained space with those verbs as methods.
"""
