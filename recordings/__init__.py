"""Any input becomes recordings, and their samples."""
