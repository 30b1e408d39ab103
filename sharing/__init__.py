"""A trained model for others: the final model, its card, and the way to the Hub."""
