"""Readings become alerts, and alerts reach people: rules, the book of what is open, the outbox, channels.

This room never acts: an alert's actions are enqueued as jobs.
"""
