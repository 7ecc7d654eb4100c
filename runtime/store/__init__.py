"""Where models are and how they get here: the catalogue, the cache and the Hub."""
