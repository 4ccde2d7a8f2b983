"""Listens to events and tells people: logs."""
