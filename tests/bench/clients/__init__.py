"""Clients that cost little beside what they measure, and that check every answer."""
