"""The runs of a job are planned and trained."""
