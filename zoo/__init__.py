"""Train autoencoders from recipes: data, networks, priors, objectives, training and metrics, in PyTorch."""

import os

# OpenMP's threads wait for each other by spinning. Where another process has one of the CPUs, they spin for as long as
# one of them does not run, and training takes many times as long. OpenMP reads this when PyTorch is imported, so it is
# set before any file of this package does that, unless the user has set it.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
