"""Networks, and models on disk.

- **A network**: the ``classifier`` around a backbone, built by ``network`` from its ``architecture``, plain values.
- **Backbones**: small ``backbones`` for small images and ``tables``; ``pretrained`` ones of timm, in parts by
  ``stages`` where the last ones are trained; several ``joined`` ones; a domain's own ``domain_statistics`` in one.
- **Their weights**: ``weights`` from files or the ``hub``; ``timm_import`` and ``padding`` mend what timm is slow at.
- **Speed**: ``compiled`` passes, ``inference`` of a frozen network, ``rounded_steps`` in bfloat16, cheap ``dropout``.
- **Predictions**: ``averaged`` over views; the rule for ``known`` and unknown images; ``linear`` models of features.
- **Features**: the ``representation`` of an image by a trained network.
- **On disk**: a ``saved`` model, a ``timm_folder`` that timm opens, and an ``exported`` file that opens without dalib.
"""
