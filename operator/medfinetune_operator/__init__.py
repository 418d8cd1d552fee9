"""The cluster executor: watches MedFineTune objects and carries each through its stages as Jobs."""
