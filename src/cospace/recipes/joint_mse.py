"""The textbook example of collapse: a linear image encoder, mean word embeddings, and the mean squared error alone.

``||f_image(I) - f_text(T)||^2`` pulls pairs together, and nothing keeps others apart. On the emoji names, with
``training.steps=200``, it reaches a mean R@1 of 0.10, with ``objective=vicreg`` 0.11 and with ``objective=softmax``
0.69, in 20 seconds on two cores (one run each, 2026-11-23; docs/collapse.md).
"""

RECIPE = {
    "encoders": {"image": "linear", "text": "bag"},
    "objective": "mse",
    "data": {"image": {"progressive_resizing": 0.0}},
    "embed_dim": 256,
    "training": {"optim": {"name": "adamw"}},
}
