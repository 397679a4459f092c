"""The doors: REST, pages, metrics, health and the command line. The only room that knows HTTP, HTML and argv."""

KEY_HEADER = "x-modelkeep-key"
"""The header in which a command of the data folder's owner sends the server's key (``modelkeep.claims``)."""
