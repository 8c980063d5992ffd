"""Domain adaptation for scikit-learn: :class:`SelfEnsembleClassifier`, and a scorer that needs no target label."""

from dalib.sklearn.estimator import SelfEnsembleClassifier, judged_score

__all__ = ["SelfEnsembleClassifier", "judged_score"]
