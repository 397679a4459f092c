"""The doors: REST, pages, metrics, health and the command line. The only room that knows HTTP, HTML and argv."""
