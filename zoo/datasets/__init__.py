"""Data sets, one format a file: each loads images and labels into memory from where they are on this machine."""
