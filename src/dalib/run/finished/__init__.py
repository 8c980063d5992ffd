"""What is done with a finished run, or with a model of one.

``select`` decides which model is selected; ``load`` opens models, ``predict``, ``measure`` and ``compare`` use them.
Predictions go to a ``resumable_table``, and to ``parquet``, or are the ``image_predictions`` of Python.
``target_predictions``, ``groups``, ``query`` and ``label_estimates``, by a ``labelled_sample``, are for a few labels.
"""
