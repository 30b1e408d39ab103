"""An interrupted training goes on exactly as if nothing had happened."""
