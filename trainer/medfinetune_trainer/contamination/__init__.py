"""Contamination: which evaluation questions the training records hold already, and which training records repeat each other."""
