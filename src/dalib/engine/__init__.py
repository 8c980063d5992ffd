"""Training: the loop, its clock, its log and its checkpoints. It knows methods only by their contract.

- **One training**: ``train`` calls the loop over the steps in ``fit``, with a ``schedule`` of the learning rate;
  ``signals`` end it between two steps.
- **An evaluation**: ``evaluate`` asks the models for what ``predict`` computes, and ``keep`` takes the best weights.
- **What stays of it**: the ``results`` are a ``runlog`` of metrics and a ``checkpoint``, in a folder or in memory.
- **Several processes**: ``distributed`` averages over them.
- **Before a training**: ``features`` of a frozen backbone, computed once.
"""
