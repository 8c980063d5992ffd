"""The trainings of a run: objects from the configuration, and the models that come of them.

``recipe`` turns the configuration into trainings, with the network and views of ``image_network`` and the method of
``methods``: below these nothing reads it. ``shared_inputs`` makes what all trainings of a run share, and
``step_precision`` measures whether bfloat16 makes their steps faster. A ``task`` is one training; source-only may come
``from_kit`` instead, ``aligned`` is made of it, the adaptation takes inputs as ``expected`` of its target, and
``stages`` trains the last stages of a backbone. What comes of all is ``run_models``.
"""
