"""Networks that turn prepared inputs into :class:`~cospace.types.Features`. One encoder per file.

The contract of a file here: a frozen ``Config`` with ``modality`` (class variable), ``tiny()`` (a small one for
tests) and ``build(spec)``, which returns a module with ``width`` (the size ``D`` of its pooled vector) whose
``forward`` takes a batch, as the modality's processor makes it, and returns ``Features``: image encoders take
``images_B3SS`` (float), text encoders a :class:`~cospace.modalities.text.tokenizer.TokenBatch`.

A string below each field of ``Config`` says what it means; ``cospace train --help-settings encoders`` shows it. A
module with ``in_space = True`` gives embeddings by itself, without a projection. One whose weights are buffers, or that
has none, never learns. ``precise`` names the kinds of its modules that stay in float32 where the rest computes in
bfloat16 (batch norms and tables of embeddings, if it says nothing).
"""
