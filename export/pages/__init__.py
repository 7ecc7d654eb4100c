"""Static pages that decode in the browser."""
