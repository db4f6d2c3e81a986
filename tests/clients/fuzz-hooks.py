"""Hooks of schemathesis: they make requests use existing resources, and check every response.

Schemathesis makes the requests, mostly with ids that do not exist. The hooks replace most of these with the ids of
existing resources: a new job, one that is being uploaded, one that is started, an active upload session, a canceled
one. Parts of a request that are invalid on purpose stay invalid.
"""

import atexit
import itertools
import json
import os
import random
import re

import requests
import schemathesis
from schemathesis.core.parameters import ParameterLocation

REST_URL = os.environ["REST_URL"]
PRINTER, SHARE = os.environ["PRINTER"], os.environ["SHARE"]
OWNER = os.environ["OWNER_TOKEN"]
# Callers who are mostly refused.
OTHERS = [os.environ[f"{who}_TOKEN"] for who in ["OTHER", "APP", "FOREIGN", "CATALOG", "WEAK", "PERSONAL", "EXPIRED"]]

GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
METHODS = {"GET", "PUT", "POST", "DELETE", "PATCH"}
VERSIONS = ["", "/v1.0", "/beta"]

SEED = os.environ["FUZZ_SEED"]
cases = itertools.count()
answers = {}
session = requests.Session()
# The tokens are in the environment. A .netrc must not replace them.
session.trust_env = False


def call(method, path, token=OWNER, **more):
    """Makes a request that must succeed."""
    headers = {"Authorization": f"Bearer {token}"} | more.pop("headers", {})
    url = path if path.startswith("http") else REST_URL + path
    response = session.request(method, url, headers=headers, timeout=20, **more)
    response.raise_for_status()
    return response


class Upload:
    """A job with its document, and the upload session if there is one."""

    def __init__(self, token=OWNER):
        job = call("POST", f"/print/printers/{PRINTER}/jobs", token).json()
        self.token, self.job, self.document = token, job["id"], job["documents"][0]["id"]
        self.path = f"/print/printers/{PRINTER}/jobs/{self.job}"
        self.url = self.size = self.id = None

    def begin(self, size):
        properties = {"documentName": "grüße.txt", "contentType": "text/plain; charset=utf-8", "size": size}
        path = f"{self.path}/documents/{self.document}/createUploadSession"
        answer = call("POST", path, self.token, json={"properties": properties})
        self.url, self.size = answer.json()["uploadUrl"], size
        self.id = self.url.split("/uploadSessions/")[1].split("?")[0]
        return self

    def send(self, start, end):
        headers = {"Content-Range": f"bytes {start}-{end - 1}/{self.size}"}
        call("PUT", self.url, headers=headers, data=bytes(end - start))
        return self

    def complete(self):
        return self.send(0, self.size)

    def cancel(self):
        call("DELETE", self.url)
        return self

    @property
    def upload_token(self):
        return self.url.split("tempauthtoken=")[1]


# Jobs in each state.
NEW = lambda: Upload()
UPLOADING = lambda: Upload().begin(11)
HALF_UPLOADED = lambda: Upload().begin(11).send(6, 11)
UPLOADED = lambda: Upload().begin(11).complete()
UPLOAD_CANCELED = lambda: Upload().begin(11).cancel()
OF_ANOTHER = lambda: Upload(OTHERS[0]).begin(11)


def STARTED():
    upload = UPLOADED()
    call("POST", f"{upload.path}/start")
    return upload


def CANCELED():
    upload = UPLOADING()
    call("POST", f"{upload.path}/cancel")
    return upload


STATES = [NEW, UPLOADING, HALF_UPLOADED, UPLOADED, UPLOAD_CANCELED, OF_ANOTHER, STARTED, CANCELED]
# The states in which an operation succeeds.
BEST = {
    "startPrintJob": [UPLOADED, STARTED],
    "downloadPrintDocument": [UPLOADED, STARTED],
    "createUploadSession": [NEW, UPLOAD_CANCELED],
    "getUploadSession": [UPLOADING, HALF_UPLOADED],
    "renewUploadUrl": [UPLOADING, HALF_UPLOADED],
    "deleteUploadSession": [UPLOADING, UPLOAD_CANCELED],
}


@schemathesis.hook
def before_call(ctx, case, kwargs):
    # The hooks add valid tokens. Where one is needed, schemathesis checks that the request without it is refused.
    case._has_explicit_auth = True
    luck = random.Random(f"{SEED}:{next(cases)}")
    if case.path.startswith("/print/"):
        below_print(case, luck)
        json_body(case, luck)
        case.path = luck.choice(VERSIONS) + case.path
    elif case.path.startswith("/uploadSessions/"):
        upload_url(case, luck, kwargs)
    if phase_of(case) == "fuzzing" and luck.random() < 0.03:
        odd_segment(case, luck)


def is_meant_to_be_wrong(case, location):
    return case.meta is not None and case.meta.is_negative_at(location)


def phase_of(case):
    """A path in `stateful` may come from an earlier answer. Hooks make requests wrong only in `fuzzing`."""
    return case.meta.phase.name.value if case.meta is not None else None


def below_print(case, luck):
    token = OWNER if luck.random() < 0.85 else luck.choice([*OTHERS, "no token", "x" * 20000, None])
    if token is not None:
        case.headers = {**case.headers, "Authorization": f"Bearer {token}"}
    ids = dict(case.path_parameters)
    if is_meant_to_be_wrong(case, ParameterLocation.PATH) or (phase_of(case) == "stateful" and "job" in ids):
        return
    if "Repeatability-Request-ID" in case.headers and not is_meant_to_be_wrong(case, ParameterLocation.HEADER):
        # Schemathesis would use one id with several configurations.
        case.headers = {**case.headers, "Repeatability-Request-ID": f"{luck.getrandbits(128):032x}"}
    ids["queues"], ids["queue"] = luck.choice([("printers", PRINTER), ("shares", SHARE)])
    if "job" in ids and luck.random() < 0.9:
        best = BEST.get(case.operation.definition.raw["operationId"], STATES)
        upload = luck.choice(best if luck.random() < 0.6 else STATES)()
        ids["job"] = upload.job
        if "document" in ids and luck.random() < 0.95:
            ids["document"] = upload.document
        if "If-Match" in case.headers and upload.id and luck.random() < 0.5:
            case.headers = {**case.headers, "If-Match": f'"{upload.id}"'}
    case.path_parameters = ids
    if case.operation.path.endswith("/$value") and luck.random() < 0.4:
        ranges = ["bytes=3-5", "bytes=-4", "bytes=0-99", "bytes=11-", "bytes=-0", "bytes=0-0,2-3"]
        case.headers = {**case.headers, "Range": luck.choice(ranges)}


def json_body(case, luck):
    """Bodies that schemathesis does not make: too large, and lists in place of objects."""
    is_wrong = is_meant_to_be_wrong(case, ParameterLocation.BODY)
    if phase_of(case) != "fuzzing" or is_wrong or not isinstance(case.body, dict):
        return
    chance = luck.random()
    if chance < 0.03:
        case.body = {**case.body, "@padding": "x" * 70000}
    elif chance < 0.06 and "configuration" in case.body:
        case.body = {"configuration": {"padding": "x" * 17000}}
    elif chance < 0.09:
        properties = case.body.get("properties", {})
        case.body = [list(properties.values()) or case.body.get("configuration")]


def odd_segment(case, luck):
    """A path segment that no client would send: not UTF-8, a NUL, a slash, two dots, too long."""
    names = re.findall(r"{(\w+)}", case.path)
    if names:
        name = luck.choice(names)
        case.path = case.path.replace(f"{{{name}}}", luck.choice(["%FF", "%00", "a%2Fb", "%2E%2E%2F", "x" * 200]))
        # Not the value that is sent, but also an invalid one.
        case.path_parameters = {**case.path_parameters, name: "\0"}


class Chunks:
    """A body of unknown length."""

    def __init__(self, body):
        self.body = body

    def __iter__(self):
        return iter([self.body])

    def __len__(self):
        return 0

    def __bool__(self):
        return True


def upload_url(case, luck, kwargs):
    body = case.body if isinstance(case.body, bytes) else b""
    if case.method == "PUT" and not is_meant_to_be_wrong(case, ParameterLocation.BODY):
        # Schemathesis often makes an empty body.
        case.body = body = body or luck.randbytes(luck.randrange(1, 300))
        if luck.random() < 0.02:
            case.body = body = bytes(10 * 2**20 + 1)
    size = len(body) + luck.choice([0, luck.randrange(1, 100)]) if body else 11
    start = luck.randint(0, size - len(body))
    upload = Upload().begin(size)
    if case.method == "PUT" and not is_meant_to_be_wrong(case, ParameterLocation.HEADER) and luck.random() < 0.8:
        space = luck.choice(" =")
        case.headers = {**case.headers, "Content-Range": f"bytes{space}{start}-{start + len(body) - 1}/{size}"}
    if case.method == "PUT" and luck.random() < 0.03:
        # In chunks, without Content-Length.
        kwargs["data"] = Chunks(body)
    before = luck.random() if size < 2**20 else 1
    if before < 0.15:
        upload.complete()
    elif before < 0.25:
        upload.cancel()
    elif before < 0.35 and size > len(body) > 0:
        upload.send(start, start + len(body))
    elif before < 0.5 and size > 1:
        upload.send(0, size // 2)
    if "If-Match" in case.headers and luck.random() < 0.5:
        case.headers = {**case.headers, "If-Match": f'"{upload.id}"'}

    if not is_meant_to_be_wrong(case, ParameterLocation.PATH) and luck.random() < 0.95:
        case.path_parameters = {**case.path_parameters, "session": upload.id}
    # An access token beside the capability is ignored.
    if luck.random() < 0.3:
        case.headers = {**case.headers, "Authorization": f"Bearer {luck.choice([OWNER, *OTHERS, 'none'])}"}
    token = luck.random()
    if token < 0.9:
        case.query = {**case.query, "tempauthtoken": upload.upload_token}
    elif token < 0.95:
        case.query = {**case.query, "tempauthtoken": luck.choice([OWNER, "x", "ü", upload.upload_token[:-1]])}


@schemathesis.check
def every_answer_has_its_ids(ctx, response, case):
    """Every answer has a `request-id`, and the client's own id if the client sent a valid one."""
    ids = response.headers.get("request-id") or []
    assert len(ids) == 1 and GUID.fullmatch(ids[0]), f"request-id is {ids}"
    sent = (response.request.headers.get("client-request-id") or "").strip()
    sent = sent.decode("latin-1") if isinstance(sent, bytes) else sent
    if re.fullmatch(r"[ -~]{1,128}", sent):
        assert response.headers.get("client-request-id") == [sent], f"client-request-id does not come back: {sent!r}"


@schemathesis.check
def every_error_is_an_odata_error(ctx, response, case):
    """Every error has the documented shape, also those of no operation."""
    if response.status_code < 400 or response.request.method == "HEAD":
        return
    content_type = response.headers.get("content-type")
    assert content_type == ["application/json"], f"an error in {content_type}"
    error = json.loads(response.content)["error"]
    inner, request_id = error["innerError"], response.headers["request-id"][0]
    assert error["code"] and error["message"] and inner["reason"] and inner["date"]
    assert inner["request-id"] == request_id, "the body has another request-id than the header"
    client_request_id = (response.headers.get("client-request-id") or [request_id])[0]
    assert inner["client-request-id"] == client_request_id, "the body has another client-request-id than the header"


@schemathesis.check
def methods_are_those_of_the_document(ctx, response, case):
    """Every other method is a 405, with exactly the documented methods in `Allow`. GET includes HEAD."""
    path = case.operation.path
    documented = METHODS & {method.upper() for method in case.operation.schema[path]}
    documented |= {"HEAD"} if "GET" in documented else set()
    method = response.request.method
    if method in documented:
        assert response.status_code != 405, f"405 for {method}, which is documented"
    elif response.status_code != 404:
        allowed = {name.strip() for name in ",".join(response.headers.get("allow") or []).split(",")}
        assert response.status_code == 405, f"{response.status_code} for {method}, which is not documented"
        assert allowed == documented, f"Allow is {sorted(allowed)}, documented are {sorted(documented)}"


@schemathesis.check
def the_document_is_served(ctx, response, case):
    """The gateway serves the document that is fuzzed."""
    if case.operation.path == "/openapi.json" and response.status_code == 200:
        with open(os.environ["FUZZ_DOCUMENT"], "rb") as file:
            assert response.content == file.read(), "the gateway serves another document"


@schemathesis.hook
def after_call(ctx, case, response):
    is_documented = response.request.method == case.operation.method.upper()
    statuses = answers.setdefault(case.operation.label if is_documented else "every other method", {})
    statuses[response.status_code] = statuses.get(response.status_code, 0) + 1


@atexit.register
def print_summary():
    """Prints which statuses each operation answered with."""
    print("\nStatuses seen:")
    for operation, statuses in sorted(answers.items()):
        counts = "  ".join(f"{status}: {count}" for status, count in sorted(statuses.items()))
        print(f"  {operation}\n      {counts}")
