"""The seam ``Runtime``, second implementation: a version in a process of its own, which may hang, leak or crash alone.

A nursery process imports what models need once and forks a child for each version: that takes milliseconds, and the
children share its memory until they write. The server talks to a child over a socket pair, gives it a deadline and a
bound of memory for every call, and replaces it when it breaks either or ends.
"""
