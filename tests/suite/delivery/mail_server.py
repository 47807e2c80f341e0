"""A mail server for the tests: prints each mail as a line of JSON.

Arguments: the port (0 for any free one) and how many mails, the first ones, it takes
without ever answering. It prints `listening <port>` first.
"""

import asyncio
import base64
import json
import sys

from aiosmtpd.smtp import SMTP


class Handler:
    def __init__(self, unanswered):
        self.unanswered = unanswered

    async def handle_DATA(self, server, session, envelope):
        mail = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "content": base64.b64encode(envelope.content).decode(),
        }
        print(json.dumps(mail), flush=True)
        if self.unanswered > 0:
            self.unanswered -= 1
            await asyncio.Event().wait()
        return "250 OK"


async def main(port, unanswered):
    handler = Handler(unanswered)
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(handler, hostname="localhost"), "127.0.0.1", port
    )
    print("listening", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
