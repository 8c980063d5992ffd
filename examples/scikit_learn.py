"""The estimator of scikit-learn on a table: two classes that the target has elsewhere, and that it has no labels of."""

import numpy as np
from sklearn.datasets import make_blobs

from dalib.sklearn import SelfEnsembleClassifier

rows, labels = make_blobs(300, centers=[[0, 0], [6, 0]], random_state=0)
target = rows + np.array([8, 0])

classifier = SelfEnsembleClassifier(steps=100, random_state=0, device="cpu")
classifier.fit(rows, labels, target)  # or, as SKADA has it, fit(both, labels, sample_domain=...)
print(classifier.judgement_["headline"])
print(
    f"source-only {classifier.source_only_.score(target, labels):.0%}, adapted {classifier.score(target, labels):.0%}"
)
