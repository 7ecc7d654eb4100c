"""A model as an HTTP service: the extra `serve` installs what it needs, and nothing else of the runtime imports it."""
