"""The web pages: server-rendered, live over server-sent events, without any front-end dependency."""

from modelkeep.edge.pages.routes import Pages, pages

__all__ = ["Pages", "pages"]
