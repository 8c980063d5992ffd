"""Layout of a run's folder, and its small files as typed records."""
