"""Predictions and labels of others for the target's images, and models that were not trained here.

A training takes ``hints``, and labels of some images, which ``given_labels`` keeps where they come from Python.
``judge_models`` judges models by ``model_tables``, by ``table_objects`` and by ``model_features``, and
``model_groups`` groups images that belong together.
"""
