"""Networks that were not trained here: anyone's PyTorch modules to a bundle."""
