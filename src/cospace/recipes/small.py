"""The default: the best that two CPU cores can do in minutes, from a few thousand to some ten thousand pairs."""

RECIPE = {
    "encoders": {
        "image": {"name": "cnn", "widths": [48, 96, 192], "depth": 1, "mixers": 2},
        "text": {"name": "transformer", "width": 192, "depth": 2},
    },
    "objective": "softmax",
    "width": 256,
}
