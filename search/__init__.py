"""Settings searched for on validation rows: studies of Optuna, their trials, and what they find."""
