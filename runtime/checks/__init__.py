"""Is it right, fast and whole here: verify, bench and doctor."""
