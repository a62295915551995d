"""SigLIP (Zhai et al. 2023) at a size for small machines: the encoders of ``clip`` with the pairwise sigmoid loss.

Mean R@1 0.916 on the composed emoji after 196 steps (one run, 2026-11-29), ``clip`` 0.898.

With the encoders of the default, ``objective=sigmoid`` reaches a mean R@1 of 0.958 on the composed emoji and softmax
0.964 (``python benchmarks/noise.py emoji/train.csv emoji/val.csv``, one run each, 2026-11-25).
"""

RECIPE = {
    "encoders": {"image": {"name": "vit", "patch_dropout": 0.5}, "text": "transformer"},
    "objective": "sigmoid",
    "data": {"image": {"progressive_resizing": 0.0}},
    "embed_dim": 256,
}
