"""What classes the target has: ``prior`` estimates their shares, ``fewer`` and ``unknown`` are for targets that lack
some of the source's classes and for those that have others, and both describe an ``expected_target``.
"""
