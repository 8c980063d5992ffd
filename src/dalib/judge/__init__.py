"""The judgement of models: how accurate they are and whether adaptation helped; pure functions of predictions.

- **Whether it helped**: ``comparison`` gives the verdict, by the probability of ``better``, which weighs ``signs``,
  votes of ``neighbours`` and ``hint_votes`` in the ``structure`` of features that no model has trained. ``chance`` and
  ``few_classes`` overrule it, and give the reason.
- **How good it is**: without labels a ``calibrated`` ``estimate``, and class by class the ``recalls``; by labels of all
  or some images ``accuracy``, ``paired`` and ``sampling``, with ``groups`` where images belong together.
- **Within a training**: ``evidence`` holds a model's predictions at an evaluation, ``scores`` and ``selection`` choose
  the checkpoint by it, and ``collapse`` has the signs that stop a training.
- **What the target is**: ``prior`` and ``shares`` of its classes, ``kinds``, ``unknown`` images.
- **Models and hints of any origin**: ``ranking``, its ``models_judgement``, ``failed_models``, their ``witness``;
  ``annotator``.

``checked`` are the checks of arguments that all of them share.
"""
