"""The textbook example: a linear image encoder, mean word embeddings, and ``||f_image(I) - f_text(T)||^2`` alone.

It shows what the loss does by itself: pairs come closer and nothing keeps strangers apart. Compare
``objective=vicreg`` and ``objective=softmax`` (docs/collapse.md): on the emoji names 200 steps take 20 seconds on two
cores and give a mean R@1 of 0.10, 0.11 and 0.69 (one run each, 2026-11-23).
"""

RECIPE = {
    "encoders": {"image": "linear", "text": "bag"},
    "objective": "mse",
    "data": {"coarse": 0.0},
    "width": 256,
    "training": {"optim": {"name": "adamw"}},
}
