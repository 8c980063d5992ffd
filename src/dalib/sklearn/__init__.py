"""Domain adaptation for scikit-learn: :class:`SelfEnsembleClassifier`, and scorers that need no target label.

:func:`judged_score` scores a :class:`SelfEnsembleClassifier`, :class:`JudgedScorer` any classifier.
"""

from dalib.sklearn.estimator import SelfEnsembleClassifier, judged_score
from dalib.sklearn.scorer import JudgedScorer

__all__ = ["JudgedScorer", "SelfEnsembleClassifier", "judged_score"]
