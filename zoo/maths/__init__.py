"""Formulas that priors and objectives share."""
