"""From a bundle back to PyTorch: its networks as modules, to train further, and what of them another training takes."""
