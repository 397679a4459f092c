"""Durable work and its schedule. Every task takes the Rooms, works in steps that survive kill -9, and is recorded."""
