"""CLIP (Radford et al. 2021) at a size for small machines: a Vision Transformer, a text transformer, softmax."""

RECIPE = {
    "encoders": {"image": {"name": "vit", "keep": 0.5}, "text": "transformer"},
    "objective": "softmax",
    "width": 256,
}
