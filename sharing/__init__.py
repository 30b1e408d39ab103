"""A trained model for others: its card, and the way to the Hub."""
