"""Train autoencoders from recipes: data, networks, priors, objectives, training and metrics, in PyTorch."""
