"""Predictions of others for the same images: ``hints`` for a training, and models that were not trained here.

``judge_models`` judges such models by ``model_tables``, by ``table_objects`` and by ``model_features``, and
``model_groups`` groups images that belong together.
"""
