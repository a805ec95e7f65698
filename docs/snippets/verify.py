"""Receive facts: `pip install standardwebhooks`. Set PORT and UNBROKEN_WEBHOOK_SECRET."""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

BODY_BYTES_MAX = 1_000_000
webhook = Webhook(os.environ["UNBROKEN_WEBHOOK_SECRET"])  # whsec_…
seen = set()  # in earnest: a table with a unique key on the webhook-id


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        length = int(self.headers.get("Content-Length", 0))
        if length > BODY_BYTES_MAX:
            return self.answer(413)
        # The bytes as they came: parsed and written again they are not those that were signed.
        body = self.rfile.read(length)
        try:
            fact = webhook.verify(body, dict(self.headers))
        except (WebhookVerificationError, ValueError):
            return self.answer(401)
        if fact["id"] not in seen:  # the webhook-id: the same on every attempt
            seen.add(fact["id"])
            print(fact["type"], fact["participant_id"], fact["sequence"], flush=True)
        return self.answer(204)  # at once; work that takes longer goes into a queue

    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Receiver).serve_forever()
