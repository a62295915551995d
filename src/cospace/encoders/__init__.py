"""Networks that turn prepared inputs into :class:`~cospace.types.Features`. One encoder per file.

The contract of a file here: a frozen ``Config`` with ``modality`` (class variable), ``tiny()`` (a small one for
tests) and ``build(spec)``, which returns a module with ``width`` (the size ``D`` of its pooled vector) whose
``forward`` takes a batch and returns ``Features``. Image encoders take ``images_B3SS`` (float); text encoders take a
:class:`~cospace.tokens.TokenBatch`.
"""
