"""Storage drivers: one interface, and a class for each backend that implements it."""
