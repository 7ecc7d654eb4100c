"""Code space, in numpy alone: noise, draws of the prior, walks, neighbours, the anomaly score."""
