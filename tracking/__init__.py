"""A run becomes a run of W&B, TensorBoard or Trackio."""
