"""The time that a run takes: ``pace`` measures, ``time_limit`` decides what fits, ``length`` prints it."""
