"""Methods of domain adaptation: each is one file with its settings, and fulfils :class:`dalib.core.types.Method`.

- **The list**: ``methods``, in which a new one is a line.
- **The method of this library**: ``self_ensemble``, with its ``losses``, its ``teacher`` and the ``prototypes`` of the
  target's classes.
- **Others to compare with**: ``source_only``, the baseline; ``mean_teacher``, ``fixmatch``, ``adamatch``, ``mcc``, and
  ``self_training`` in closed form.
- **Beside any of them**: ``masked_consistency``, ``hints``, and images ``outside`` of the classes.
- **Shared by them**: ``inputs``, the ``student``'s pass, the loss on ``pseudo_labels``, and the form of ``settings``.
"""
