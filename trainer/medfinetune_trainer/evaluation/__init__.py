"""Examinations asked through lm-evaluation-harness, and what their accuracies are worth."""
