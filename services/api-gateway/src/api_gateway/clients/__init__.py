"""The other services, as routes call them. Every call has a deadline and carries the request id."""
