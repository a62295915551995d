"""The default's towers and objective, and a decoder that learns to write the captions beside it (Yu et al. 2022)."""

RECIPE = {
    "encoders": {
        "image": {"name": "cnn", "widths": [32, 64, 192], "depth": 1, "mixers": 2},
        "text": {"name": "transformer", "width": 192, "depth": 2},
    },
    "objective": {"name": "softmax", "smoothing": 0.1},
    "tell": "both",
    "width": 256,
}
