"""Training as such: the loop, its clock, its log and its checkpoints. Knows methods only by their contract."""
