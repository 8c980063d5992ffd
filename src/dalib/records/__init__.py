"""Layout of a run's folder, and its small files as typed records.

- **Where things lie**: ``folder`` names all that is in a run's folder, ``several`` what is in that of several targets.
- **What a run came to**: its ``summary``, the ``judgement``, each ``evaluation`` on labelled images, the ``selection``
  of a model among the ``candidates``, the accuracies by a few ``labelled`` images, and how far ``hints`` were trusted.
- **Beside these**: lines of ``metrics``, names of ``images``, what the report's ``pictures`` are drawn from, and the
  header of a ``kit``.

``content`` turns all of them into JSON and back; ``estimate`` has parts that several share.
"""
