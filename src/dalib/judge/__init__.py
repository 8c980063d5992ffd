"""How good is it, and did it help? Pure functions of predictions."""
