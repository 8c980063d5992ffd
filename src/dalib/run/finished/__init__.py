"""What is done with a finished run, or with a model of one.

``select`` decides which model is selected; ``load`` opens models, ``predict``, ``features``, ``measure`` and
``compare`` use them. Predictions and features of files are rows of a ``table_of_images``, a ``resumable_table`` that
becomes ``parquet`` or a ``feature_table``; those of Python are ``image_predictions`` and ``image_features``.
``target_predictions``, ``groups``, ``query`` and ``label_estimates``, by a ``labelled_sample``, are for a few labels.
"""
