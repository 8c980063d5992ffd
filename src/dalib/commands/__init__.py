"""The command line. A subcommand is a file with its name; the rest parses, explains and spells.

- **From words to a call**: ``main`` runs a command line. ``arguments`` brings each spelling to the one that the
  ``parser`` takes, by the ``given_settings``; ``older_settings`` gives those of older versions their meaning, and
  ``config_file`` reads a file of them. ``subcommand`` is the interface of the files below.
- **A run**: ``train``, whose flags are ``settings``; ``predict``, ``features``, ``eval``, ``query``, ``keep``,
  ``compare``, ``export`` and ``report`` take a finished one.
- **Beside runs**: ``checks`` of data and installation, ``judge`` for models of other origin, ``backbones`` at hand,
  the ``cache``, and ``completion`` for a shell.
- **What is printed**: ``help``, ``complaints`` about what was typed, and ``flags``, the one place that spells settings
  and calls for a shell.
"""
