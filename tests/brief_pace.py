"""Measures the pace of a run with the fewest calls, where it would take a second, and the time of a map once."""

from functools import cache

from dalib.run.timing import pace

seconds_of, seconds_of_a_map = pace.seconds_of, cache(pace.seconds_of_a_map)


def seconds_of_few(call, device, least=3, most=0.0):
    """The median time of the fewest calls."""
    return seconds_of(call, device, least, most=0.0)


def measure_briefly(patched):
    patched.setattr(pace, "seconds_of", seconds_of_few)
    patched.setattr(pace, "seconds_of_a_map", seconds_of_a_map)
