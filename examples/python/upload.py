#!/usr/bin/env python3
"""Cancels one upload and completes another, over gRPC, on stubs generated from the proto.

    python3 -m venv venv && venv/bin/pip install --require-hashes -r examples/python/requirements.txt
    venv/bin/python -m grpc_tools.protoc -I proto --python_out=venv --grpc_python_out=venv proto/print/upload/v1/*.proto
    PYTHONPATH=venv venv/bin/python examples/python/upload.py

The addresses and tokens are those of dev.env, which `print-upload-dev up` writes.
"""

import hashlib
import os

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from print.upload.v1 import (
    print_documents_pb2,
    print_documents_pb2_grpc,
    print_jobs_pb2,
    print_jobs_pb2_grpc,
    upload_sessions_pb2,
    upload_sessions_pb2_grpc,
)

# A range has at most 10 MiB, a chunk at most 1 MiB, unless the service is configured otherwise.
RANGE_BYTES = 4 * 1024 * 1024
CHUNK_BYTES = 1024 * 1024

# The deadline of a call, in seconds.
TIMEOUT = 30.0

# A download takes longer, depending on the document's size.
DOWNLOAD_TIMEOUT = 600.0


class Caller:
    """A client of the service with one access token."""

    def __init__(self, channel, token):
        self.sessions = upload_sessions_pb2_grpc.UploadSessionsStub(channel)
        self.documents = print_documents_pb2_grpc.PrintDocumentsStub(channel)
        self.jobs = print_jobs_pb2_grpc.PrintJobsStub(channel)
        # Get a new token before this one expires: it is verified at every call.
        self.options = {"metadata": [("authorization", f"Bearer {token}")], "timeout": TIMEOUT}

    def create_job(self, printer):
        request = print_jobs_pb2.CreatePrintJobRequest(parent=f"printers/{printer}")
        return self.jobs.CreatePrintJob(request, **self.options)

    def create_session(self, document, size):
        properties = upload_sessions_pb2.DocumentProperties(
            document_name="poster.pdf", content_type="application/pdf", size_bytes=size
        )
        request = upload_sessions_pb2.CreateUploadSessionRequest(parent=document, properties=properties)
        return self.sessions.CreateUploadSession(request, **self.options)

    def session(self, name):
        request = upload_sessions_pb2.GetUploadSessionRequest(name=name)
        return self.sessions.GetUploadSession(request, **self.options)

    def send(self, session, content, start, end):
        """Sends one range: a header, then chunks. When this returns, the bytes are durable."""
        return self.sessions.UploadRange(messages(session, content, start, end), **self.options)

    def cancel(self, name):
        request = upload_sessions_pb2.DeleteUploadSessionRequest(name=name)
        self.sessions.DeleteUploadSession(request, **self.options)

    def download(self, document):
        request = print_documents_pb2.DownloadPrintDocumentRequest(name=document)
        stream = self.documents.DownloadPrintDocument(request, **(self.options | {"timeout": DOWNLOAD_TIMEOUT}))
        return b"".join(message.chunk for message in stream)

    def upload(self, document, content):
        """Sends the missing bytes. After any interruption, the same call continues the upload."""
        session = self.create_session(document, len(content))
        for missing in session.next_expected_ranges:
            for start in range(missing.start, missing.end, RANGE_BYTES):
                answer = self.send(session, content, start, min(start + RANGE_BYTES, missing.end))
        return answer.document


def messages(session, content, start, end):
    header = upload_sessions_pb2.RangeHeader(
        name=session.name,
        start=start,
        end=end,
        total=len(content),
        sha256=hashlib.sha256(content[start:end]).digest(),
    )
    yield upload_sessions_pb2.UploadRangeRequest(header=header)
    for offset in range(start, end, CHUNK_BYTES):
        chunk = content[offset : min(offset + CHUNK_BYTES, end)]
        yield upload_sessions_pb2.UploadRangeRequest(chunk=chunk)


def reason(error):
    """Returns the stable reason of an error. Decide by it and by the code, never by the message."""
    status = rpc_status.from_call(error)
    # An error without details does not come from the service, but from the connection or a proxy.
    for detail in status.details if status else ():
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            detail.Unpack(info)
            return info.reason


def refusal(call, *arguments):
    """Returns the code and the reason of the error of a call."""
    try:
        call(*arguments)
    except grpc.RpcError as error:
        return f"{error.code().name} {reason(error)}"


def state(session):
    return upload_sessions_pb2.UploadSession.State.Name(session.state)


def main():
    with grpc.insecure_channel(os.environ["GRPC_ADDR"]) as channel:
        owner = Caller(channel, os.environ["OWNER_TOKEN"])
        other = Caller(channel, os.environ["OTHER_TOKEN"])
        document = owner.create_job(os.environ["PRINTER"]).document
        content = bytes(range(256)) * 40_000

        session = owner.create_session(document, len(content))
        owner.send(session, content, 9_000_000, len(content))
        answer = owner.send(session, content, 0, 1_000_000)
        print("missing", [(missing.start, missing.end) for missing in answer.next_expected_ranges])

        print("somebody else:", refusal(other.cancel, session.name))
        owner.cancel(session.name)
        owner.cancel(session.name)
        print("canceled:", state(owner.session(session.name)))
        print("a late range:", refusal(owner.send, session, content, 1_000_000, 2_000_000))

        uploaded = owner.upload(document, content)
        print("uploaded", uploaded.size_bytes, "bytes, CRC32C", f"{uploaded.crc32c:08x}")
        print("the same:", owner.download(document) == content)
        print("once more:", refusal(owner.upload, document, content))


if __name__ == "__main__":
    main()
