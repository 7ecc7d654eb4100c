"""Data sets, one a file, which declares everything about it: `Declaration` in data/dataset.py lists what.

A file is found by being here. Any other name is that of a folder of idx files or of pictures.
"""
