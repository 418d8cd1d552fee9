"""Builders of the Kubernetes objects of a run: pure functions from run, attempt and settings to JSON, one file a kind. They know neither kopf nor a client.

`job.job` builds an attempt; `children.child` whatever else a run has. Equal input gives equal output: an object is compared by its hash, never field by field.
"""
