"""One run, from opening the data to the report, and what is done with a finished one.

To read a run as a story, begin with ``train``, and go down where a step is of interest. The modules of the story are
here; each of the rooms within has a map of its own, and imports only from the rooms that are named below it.

- **The story**: ``adapt`` is its front door in Python, ``train`` runs it. ``setup`` checks and opens what ``place``
  and ``resume`` then begin or continue; ``settings_check`` and ``kit_check`` refuse settings that exclude each other,
  and ``length`` prints how long the run takes. ``models_in_folder`` makes the models, ``judge`` judges them, with
  ``cautions`` where there are few images, and ``summary`` and ``track`` report the results. What ends a run early is
  an error with its ``remedies``. ``several`` makes a run for each of several ``targets``; a ``sibling`` has the same
  source.
- **Before and after**: ``checks`` inspects the data before a run begins, and ``foreseen_kind`` which classes the target
  seems to have. A run that is ``opened`` does in Python what the commands do; ``export`` writes models, and kits, for
  use elsewhere.
- ``others``: hints for a training, and models that were not trained here.
- ``timing``: the time that a run takes.
- ``recipe``: the configuration turned into objects, and the models that come of them.
- ``finished``: what is done with a finished run, or with a model of one.
- ``features``: how images reach a network, and features of a frozen backbone in their place.
- ``start``: the images of both domains, what stands in for the source, and first weights.
- ``classes``: the shares of the classes in the target, fewer of them, and unknown ones.
- ``settings``: what a user sets.
"""
