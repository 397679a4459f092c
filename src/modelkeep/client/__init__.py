"""The product from another process: ask models, send what was predicted elsewhere, tell what came true.

Nothing of the server is imported here, and httpx only when something is sent.
"""

from modelkeep.client.calls import AsyncClient, Client
from modelkeep.client.outbox import OutboxState
from modelkeep.client.posting import Answer

__all__ = ["Answer", "AsyncClient", "Client", "OutboxState"]
