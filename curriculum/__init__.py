"""Which rows an epoch trains on, in which order; schedules."""
