"""Types, errors, files and the console, which every room may use and which use no room.

- **Contracts**: the ``types`` of a batch, its losses and a method.
- **Bad input**: ``errors`` in words, ``refusals`` of the system to write, checked ``ranges`` and ``checked_settings``.
- **Output**: the ``console`` and the ``notebook``; ``words``, ``places`` and loss ``parts`` as they are printed.
- **The machine**: ``files`` written whole or not at all, ``devices``, installed ``versions``, and ``import_conflicts``.
- **Numbers**: ``seeds`` by their use, the caller's ``random_states``, and standard ``deviations`` to divide by.
"""
