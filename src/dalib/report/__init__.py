"""The report of a run: reads a run folder, writes one HTML file.

- **Pages**: ``page`` is a run's report, which fills ``template`` from all below; ``several`` compares targets,
  ``models_page`` models of other origin, ``labels`` asks for labels. ``style`` is that of all, ``head`` that of the
  first three. ``card`` is the model card of an exported folder.
- **The first screen**: the ``verdict`` in words with its ``next_steps``, ``accuracy`` bars, ``tiles`` of numbers.
- **The models**: their ``comparison`` side by side, ``mistakes`` on labelled images, ``reliability`` of confidence,
  the ``histogram`` of predicted classes, ``samples`` of the target, the ``scatter`` of features, and trust in
  ``hints``.
- **The training**: ``charts`` of its course, the looks of its loss ``parts``, and the ``facts`` of the run.

``figures`` computes where things are drawn and how numbers are written. ``sheets`` makes pictures while training,
and alone knows torch.
"""
