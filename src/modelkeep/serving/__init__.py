"""The hot path: a request meets a version, its answer is recorded, and nothing of it waits for the store."""
