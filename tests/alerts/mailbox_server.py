"""A real mail server on 127.0.0.1: STARTTLS, a login, and every mail that it took."""

import asyncio
import ssl
import threading
from email import message_from_bytes, policy

from aiosmtpd.smtp import SMTP, AuthResult


class Mailbox:
    def __init__(self, folder, *, encrypted=True):
        import trustme

        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "authority.pem")
        self.authority = str(folder / "authority.pem")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        self.mails, self.refused, self.answer = [], set(), "250 taken"
        self.options = {
            "tls_context": context if encrypted else None,
            "require_starttls": encrypted,
            "authenticator": self._known,
            "auth_required": encrypted,
            "auth_require_tls": encrypted,
        }
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        opening = self.loop.create_server(lambda: SMTP(self, loop=self.loop, **self.options), "127.0.0.1", 0)
        self.server = asyncio.run_coroutine_threadsafe(opening, self.loop).result(5)
        self.port = self.server.sockets[0].getsockname()[1]

    def _known(self, server, session, envelope, mechanism, data):
        return AuthResult(success=(data.login, data.password) == (b"ops", b"s3cret"), handled=False)

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802 - aiosmtpd's name
        if address in self.refused:
            return "550 nobody of that name"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802 - aiosmtpd's name
        if self.answer.startswith("250"):
            self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return self.answer

    async def _closed(self):
        self.server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def close(self):
        asyncio.run_coroutine_threadsafe(self._closed(), self.loop).result(5)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()
