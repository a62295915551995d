"""The textbook example: a linear image encoder, mean word embeddings, and ``||f_image(I) - f_text(T)||^2`` alone.

It shows what the loss does by itself: the distance goes to zero and so does the effective rank, because a constant is
a perfect answer. Compare ``objective=vicreg`` and ``objective=softmax``.
"""

RECIPE = {
    "encoders": {"image": "linear", "text": "bag"},
    "objective": "mse",
    "width": 256,
    "training": {"optim": {"name": "adamw"}},
}
