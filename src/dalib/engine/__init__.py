"""Training: the loop, its clock, its log and its checkpoints. It knows methods only by their contract."""
