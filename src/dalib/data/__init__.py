"""Input data, from what a user names to batches: files -> rows of uint8 images -> :class:`dalib.core.types.Batch`.

- **What a user names**: ``sources`` opens it. ``listing`` finds the files of ``folders``, ``shards`` and lists, which
  ``tables`` reads with the ``spelling`` of classes; ``named`` and ``digits`` (drawn with ``strokes``) are data sets
  with a name; ``objects`` are in memory, have ``object_rows``, and are kept as files by ``given``.
- **From a file to pixels**: ``formats`` that can be read, ``reading_options``, ``decoding``, ``depth`` beyond 8 bits,
  files of several ``frames``, ``preprocessing``; ``unreadable`` and ``damaged`` files.
- **Rows**: ``rows`` by number, ``file_rows`` and the ``cache`` that they come from, ``read_ahead`` of the next part,
  ``sparse`` ones of a table.
- **A domain**: ``domain_images`` with names and labels, a ``split`` for validation, ``labels`` of target images, and
  ``groups`` that belong together, found by ``similar`` images where nobody names them.
- **What is wrong with it**: a ``survey`` of folders, which ``survey_in_words`` prints, ``overlap`` of the domains, a
  ``fingerprint`` that tells changes.
- **Batches**: the ``stream`` of both domains, and its ``prefetch``.
"""
