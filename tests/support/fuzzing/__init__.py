"""Hostile inputs of six kinds, made from real ones by seeded changes.

Each kind is a module with `REFUSAL`, the error that its bad inputs end in, and `case`, which makes one input and gives
it to what reads it: it returns where that is accepted and right, raises REFUSAL where it is refused, and anything else
is a fault.
"""
