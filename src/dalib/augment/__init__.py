"""Random views of images: batched tensor code in which each image has its own draw, from a given generator.

``views`` joins the changes of ``geometry`` and ``color`` to whole views with a name; ``ground`` has those of characters
in colour; ``precision`` is what all of them compute in. Rows of ``tables`` are changed in place of images; of
``stored`` views, computed beforehand, some are drawn.
"""
