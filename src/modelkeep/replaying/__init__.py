"""Plays recorded data through the product on a simulated clock: ``modelkeep replay`` and ``modelkeep demo``.

Nothing is faked: a real app on a real folder answers, records, watches, alerts, retrains and judges. Only its clock is
moved by hand.
"""
