"""What you type: the command line."""
