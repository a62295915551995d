"""Writing captions: texts a second with the key-value cache, against reading the whole text again for every token.

Both make the same texts: greedy, of a fixed number of tokens, by a decoder of the recipe `coca` with random weights on
random image tokens. What is compared is the decoder alone; the image is encoded once on both sides.
"""

from __future__ import annotations

import argparse
from functools import partial

import torch
from torch import Tensor

import frame
from cospace.modalities.text.tokenizer import BEGIN_ID, END_ID
from cospace.models.generation.decoder import Config, Decoder
from cospace.runtime import device
from cospace.types import Features, TextSpec
from towers import fill_zeros

VOCABULARY, CELLS, WIDTH = 2_000, 16, 192
"""Of a run on some thousand captions; the tokens of the default image tower."""


def main() -> None:
    """One comparison."""
    options = arguments()
    torch.manual_seed(0)
    decoder = Config().build(TextSpec(VOCABULARY, 64), WIDTH).to(device()).eval()
    fill_zeros(decoder)
    tokens_BTD = torch.randn(options.batch, CELLS, WIDTH, device=device())
    mask_BT = torch.ones(options.batch, CELLS, dtype=torch.bool, device=device())
    image = Features(tokens_BTD[:, 0], tokens_BTD, mask_BT)
    same = torch.equal(cached(decoder, image, options.length), whole(decoder, image, options.length))
    print(f"the same texts: {'yes' if same else 'NO'}")
    task = frame.Task(f"{options.batch} captions of {options.length} tokens, greedy", options.batch, "captions")
    works = [partial(made, decoder, image, options.length) for made in (cached, whole)]
    results = frame.compare(task, works[0], {"no cache": works[1]}, frame.rounds(options))
    frame.record(results, options.table)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = frame.parser(__doc__)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--length", type=int, default=20, help="tokens of a caption")
    return parser.parse_args()


@torch.inference_mode()
def cached(decoder: Decoder, image: Features, length: int) -> Tensor:
    """Token by token, from the state that the decoder keeps."""
    item_B = torch.arange(len(image.tokens_BTD), device=image.tokens_BTD.device)
    state, ids_BT = decoder.start(image, item_B), prompts(item_B)
    written = []
    for _ in range(length):
        states_BTD, state = decoder.advance(ids_BT, state)
        ids_BT = decoder.logits(states_BTD[:, -1]).argmax(-1, keepdim=True)
        written.append(ids_BT)
    return torch.cat(written, 1)


@torch.inference_mode()
def whole(decoder: Decoder, image: Features, length: int) -> Tensor:
    """The whole text again for every token."""
    item_B = torch.arange(len(image.tokens_BTD), device=image.tokens_BTD.device)
    ids_BT = prompts(item_B)
    for _ in range(length):
        states_BTD = decoder(ids_BT, image, item_B)
        ids_BT = torch.cat([ids_BT, decoder.logits(states_BTD[:, -1]).argmax(-1, keepdim=True)], 1)
    return ids_BT[:, 2:]


def prompts(item_B: Tensor) -> Tensor:
    """The empty prompt for each image."""
    return torch.tensor([[BEGIN_ID, END_ID]], device=item_B.device).expand(len(item_B), 2)


if __name__ == "__main__":
    main()
