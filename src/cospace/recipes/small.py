"""The default: the best that two CPU cores can do in minutes, from a few thousand to some ten thousand pairs."""

RECIPE = {
    "encoders": {"image": "cnn", "text": "transformer"},
    "objective": "softmax",
    "width": 256,
}
