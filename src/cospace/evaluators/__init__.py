"""A model on pairs: embed them, let the decoder write about them, and measure both.

Figures are made by the pure functions of ``evaluation``; here is what runs a model to get their inputs.
"""
