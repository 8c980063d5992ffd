"""What a run's folder holds: its layout, and its small files as typed records."""
