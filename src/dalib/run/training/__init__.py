"""The trainings of a run: objects from the configuration, and the models that come of them.

``recipe``, with ``methods``, turns the configuration into objects: below it nothing reads it. ``shared_inputs`` makes
what all trainings of a run share; a ``pair`` is the baseline and the adapted model; ``stages`` trains the last stages
of a backbone.
"""
