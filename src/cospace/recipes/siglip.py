"""SigLIP (Zhai et al. 2023) at a size for small machines: the towers of ``clip`` with the pairwise sigmoid loss."""

RECIPE = {
    "encoders": {"image": {"name": "vit", "keep": 0.5}, "text": "transformer"},
    "objective": "sigmoid",
    "data": {"coarse": 0.0},
    "width": 256,
}
