"""CLIP (Radford et al. 2021) at a size for small machines: a Vision Transformer, a text transformer, softmax.

Half of the patches are left out of every training step (Li et al. 2023, FLIP), which halves the picture's cost.
"""

RECIPE = {
    "encoders": {"image": {"name": "vit", "keep": 0.5}, "text": "transformer"},
    "objective": "softmax",
    "data": {"coarse": 0.0},
    "width": 256,
}
