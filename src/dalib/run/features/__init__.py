"""How images reach a network, and features of a frozen backbone in their place.

``inputs`` defines how images or features reach a network; ``feature_space`` computes and keeps features,
``domain_features`` those of both domains, ``own_statistics`` those with each domain's statistics; ``neutral_features``
are for the judgement alone. ``representation`` computes what a finished model, or a backbone without a run, gives of an
image. ``fastest`` measures how a network is called quickest.
"""
