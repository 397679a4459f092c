"""Who gets in: rates per caller, a limit on calls under way that follows latency, priorities, and what overload is."""
