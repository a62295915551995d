"""From what a person has to the batches of a step: sources, pairs, matches, samplers, prepared items."""
