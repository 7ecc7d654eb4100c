"""What `make zoo` and `make generated` run."""
