"""Data sets, one a file, which says all that is to be said of it: `Declaration` in data/dataset.py lists what.

A file is found by being here. Data sets that have none are folders of idx files or of pictures, under any other name.
"""
