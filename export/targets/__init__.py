"""A bundle for others: inside a program, for Triton, on the Hub. Nothing here needs PyTorch."""
