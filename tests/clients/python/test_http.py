"""HTTP libraries of Python against the REST gateway at $REST_URL: requests (urllib3), httpx over HTTP/1.1 and HTTP/2,
and aiohttp. What they do by themselves, or with one option, that other services were found not to expect.
"""

import asyncio
import gzip
import json
import os
import ssl
import sys
import unittest

import aiohttp
import httpx
import requests

REST_URL = os.environ["REST_URL"]
CA = os.environ["CA_CERT"]
TOKEN = {"Authorization": "Bearer " + os.environ["OWNER_TOKEN"]}
CONTENT = os.urandom(100_000)
PROPERTIES = {"properties": {"documentName": "grüße.pdf", "contentType": "application/pdf", "size": len(CONTENT)}}
JSON = {"Content-Type": "application/json"}
GZIP = {"Content-Encoding": "gzip"}


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    def reason(self):
        return self.json()["error"]["innerError"]["reason"]


class Stories:
    """The classes below choose the library: `self.send(method, url, headers, body)`."""

    def printers(self):
        return f"{REST_URL}/v1.0/print/printers/{os.environ['PRINTER']}"

    def document(self):
        """The URLs of a new job and of its document."""
        created = self.send("POST", f"{self.printers()}/jobs", TOKEN | JSON, b"{}")
        self.assertEqual(created.status, 201, created.body)
        job = f"{self.printers()}/jobs/{created.json()['id']}"
        return job, f"{job}/documents/{created.json()['documents'][0]['id']}"

    def begin(self, document):
        body = json.dumps(PROPERTIES).encode()
        created = self.send("POST", f"{document}/createUploadSession", TOKEN | JSON, body)
        self.assertEqual(created.status, 200, created.body)
        return created.json()["uploadUrl"]

    def put(self, url, body=CONTENT, headers={}):
        content_range = {"Content-Range": f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"}
        return self.send("PUT", url, content_range | headers, body)

    def test_compressed_json_is_refused_so_that_kiota_falls_back(self):
        _, document = self.document()
        url, body = f"{document}/createUploadSession", json.dumps(PROPERTIES).encode()
        refused = self.send("POST", url, TOKEN | JSON | GZIP, gzip.compress(body))
        self.assertEqual(refused.status, 415, refused.body)
        self.assertEqual(refused.headers["Accept-Encoding"], "identity")
        self.assertEqual(self.send("POST", url, TOKEN | JSON, body).status, 200)

    def test_a_compressed_slice_is_not_stored(self):
        _, document = self.document()
        url = self.begin(document)
        refused = self.put(url, gzip.compress(CONTENT), GZIP)
        compressed = gzip.compress(CONTENT)
        headers = GZIP | {"Content-Range": f"bytes 0-{len(compressed) - 1}/{len(CONTENT)}"}
        also_refused = self.send("PUT", url, headers, compressed[: len(CONTENT)])
        self.assertEqual((refused.status, also_refused.status), (415, 415))
        self.assertEqual(self.put(url).status, 201)
        self.assertEqual(self.send("GET", f"{document}/$value", TOKEN).body, CONTENT)

    def test_a_byte_order_mark_before_json(self):
        _, document = self.document()
        body = json.dumps(PROPERTIES).encode("utf-8-sig")
        self.assertEqual(self.send("POST", f"{document}/createUploadSession", TOKEN | JSON, body).status, 200)

    def test_other_spellings_of_the_paths(self):
        job, document = self.document()
        body = json.dumps(PROPERTIES).encode()
        created = self.send("POST", f"{document}/microsoft.graph.createUploadSession", TOKEN | JSON, body)
        self.assertEqual(created.status, 200, created.body)
        self.assertEqual(self.put(created.json()["uploadUrl"]).status, 201)
        value = self.send("GET", f"{document}/%24value", TOKEN)
        self.assertEqual((value.status, value.body), (200, CONTENT))
        disposition = value.headers["Content-Disposition"]
        self.assertIn('filename="gr__e.pdf"', disposition)
        self.assertIn("filename*=UTF-8''gr%C3%BC%C3%9Fe.pdf", disposition)
        self.assertEqual(self.send("POST", f"{job}/microsoft.graph.start", TOKEN).status, 200)

    def test_a_refusal_before_the_body_leaves_the_client_usable(self):
        _, document = self.document()
        url = self.begin(document)
        self.assertEqual(self.send("DELETE", url).status, 204)
        for _ in range(2):
            refused = self.put(url, headers={"Expect": "100-continue"} if self.expects else {})
            self.assertEqual((refused.status, refused.reason()), (409, "UPLOAD_SESSION_CANCELED"))
            missing = self.put(url.replace("uploadSessions", "nothing"))
            self.assertEqual(missing.reason(), "PATH_UNKNOWN")
            self.assertEqual(self.send("GET", f"{REST_URL}/openapi.json").status, 200)

    def test_a_credential_that_is_too_long_is_reported_as_such(self):
        refused = self.send("GET", self.printers() + "/jobs/1", {"Authorization": "Bearer " + "x" * 20_000})
        self.assertEqual((refused.status, refused.reason()), (431, "CREDENTIAL_TOO_LARGE"))


class Requests(Stories, unittest.TestCase):
    # It has no support for it: the header is sent, and the body as well.
    expects = True

    def setUp(self):
        self.session = requests.Session()
        self.addCleanup(self.session.close)

    def send(self, method, url, headers={}, body=b""):
        response = self.session.request(method, url, headers=headers, data=body, verify=CA)
        return Answer(response.status_code, response.headers, response.content)


class Httpx(Stories, unittest.TestCase):
    http2 = False
    expects = True

    def setUp(self):
        context = ssl.create_default_context(cafile=CA)
        self.client = httpx.Client(verify=context, http1=not self.http2, http2=self.http2)
        self.addCleanup(self.client.close)

    def send(self, method, url, headers={}, body=b""):
        response = self.client.request(method, url, headers=headers, content=body)
        return Answer(response.status_code, response.headers, response.content)


class HttpxOverHttp2(Httpx):
    http2 = True
    expects = False


class Aiohttp(Stories, unittest.TestCase):
    """It waits for `100 Continue`, and keeps its connections."""

    expects = True

    def setUp(self):
        self.loop = asyncio.new_event_loop()
        self.addCleanup(self.loop.close)

        async def open_session():
            connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=CA), limit=1)
            return aiohttp.ClientSession(connector=connector)

        self.session = self.loop.run_until_complete(open_session())
        self.addCleanup(lambda: self.loop.run_until_complete(self.session.close()))

    def send(self, method, url, headers={}, body=b""):
        async def exchange():
            expect100 = "Expect" in headers
            others = {name: value for name, value in headers.items() if name != "Expect"}
            async with self.session.request(method, url, headers=others, data=body, expect100=expect100) as response:
                return Answer(response.status, response.headers, await response.read())

        return self.loop.run_until_complete(exchange())


if __name__ == "__main__":
    outcome = unittest.main(verbosity=2, warnings="ignore", exit=False).result
    failed = len(outcome.failures) + len(outcome.errors)
    print(f"{outcome.testsRun - failed} passed, {failed} failed", flush=True)
    sys.exit(not outcome.wasSuccessful())
