"""From a folder of normal pictures to a detector: a bundle, and a page of what it thinks."""
