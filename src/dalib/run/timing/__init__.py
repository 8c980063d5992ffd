"""The time that a run takes: ``pace`` measures, ``time_limit`` decides what fits, ``length`` prints it.

``opening`` prints what the run is about to train on, before anything of this is imported.
"""
