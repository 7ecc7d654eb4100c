"""How good a model is on the test set."""
