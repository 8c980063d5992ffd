"""What is done with a finished run, or with a model of one.

``select`` decides which model is selected; ``load`` opens models, ``predict``, ``measure`` and ``compare`` use them.
Predictions of files are rows of a ``table_of_images``, a ``resumable_table`` that may become ``parquet``; those of
Python are ``image_predictions``.
``target_predictions``, ``groups``, ``query`` and ``label_estimates``, by a ``labelled_sample``, are for a few labels.
"""
