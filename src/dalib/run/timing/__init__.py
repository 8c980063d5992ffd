"""The time that a run takes: ``pace`` measures it, and ``time_limit`` decides what fits.

``opening`` prints what the run is about to train on, before anything of this is imported.
"""
