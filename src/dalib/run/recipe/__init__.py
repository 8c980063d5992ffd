"""The trainings of a run: objects from the configuration, and the models that come of them.

``recipe`` turns the configuration into trainings, with the network and views of ``image_network``; a ``task`` is one of
them, ready to start. Nothing below these reads it: ``methods`` builds a method of plain values, and ``shared_inputs``
what all trainings of a run share. ``step_precision`` measures whether bfloat16 makes steps faster. Source-only may
come ``from_kit`` instead of a training, ``aligned`` is made of it, the adaptation takes inputs as ``expected`` of its
target, and ``stages`` trains the last stages of a backbone. What comes of all is ``run_models``.
"""
