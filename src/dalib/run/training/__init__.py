"""The trainings of a run: objects from the configuration, and the models that come of them.

``recipe``, with ``methods``, turns the configuration into objects: below it nothing reads it. ``shared_inputs`` makes
what all trainings of a run share, and ``step_precision`` measures whether bfloat16 makes their steps faster. A ``task``
is one training; source-only may come ``from_kit`` instead, ``aligned`` is made of it, the adaptation takes inputs as
``expected`` of its target, and ``stages`` trains the last stages of a backbone. What comes of all is ``run_models``.
"""
