// The JavaScript SDK of Microsoft Graph, as published, against the REST gateway at $REST_URL.
//
// Everything runs twice. Where the API and the upload URLs have the same host name, the SDK attaches the access token
// to the requests on upload URLs as well; where they differ, it does not.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import diagnostics from "node:diagnostics_channel";
import { Readable } from "node:stream";
import { describe, test } from "node:test";

import {
    Client,
    FileUpload,
    GraphError,
    LargeFileUploadTask,
    Range,
    ResponseType,
    StreamUpload,
} from "@microsoft/microsoft-graph-client";

const { REST_URL, OWNER_TOKEN, PRINTER, SHARE } = process.env;
const UPLOAD_HOST = new URL(REST_URL).hostname;
const OTHER_NAME = UPLOAD_HOST === "localhost" ? "127.0.0.1" : "localhost";

const SLICE = 200 * 1024;
/** Six slices. The last one is smaller. */
const CONTENT = randomBytes(5 * SLICE + 12_345);

/** The requests of Node's own fetch, with their statuses. So the SDK itself needs no change. */
const requests = [];
const requestOf = new WeakMap();
diagnostics.subscribe("undici:request:create", ({ request }) => {
    const authorized = /^authorization\b/im.test([request.headers].flat().join("\n"));
    const seen = { method: request.method, path: request.path, authorized };
    requestOf.set(request, seen);
    requests.push(seen);
});
diagnostics.subscribe("undici:request:headers", ({ request, response }) => {
    requestOf.get(request).status = response.statusCode;
});

/** The requests on a session's upload URL, oldest first. */
function onUploadUrl(session) {
    const { pathname } = new URL(session.url);
    return requests.filter(({ path }) => path.startsWith(pathname));
}

/** The status of each slice that was sent to a session. */
function slices(session) {
    return onUploadUrl(session)
        .filter(({ method }) => method === "PUT")
        .map(({ status }) => status);
}

function clientAt(host, defaultVersion = "v1.0") {
    const url = new URL(REST_URL);
    url.hostname = host;
    return Client.init({
        baseUrl: url.origin,
        defaultVersion,
        customHosts: new Set([host]),
        authProvider: (done) => done(null, OWNER_TOKEN),
    });
}

/** Creates a job on a printer or share. Returns its path and its document's path and id. */
async function newJob(client, queue) {
    const job = await client.api(`${queue}/jobs`).post({ configuration: { copies: 2 } });
    assert.equal(job.status.state, "paused");
    assert.deepEqual(job.status.details, ["uploadPending"]);
    assert.deepEqual(job.configuration, { copies: 2 });
    assert.equal(job.documents.length, 1);
    const path = `${queue}/jobs/${job.id}`;
    return { path, document: `${path}/documents/${job.documents[0].id}`, documentId: job.documents[0].id };
}

function newSession(client, document) {
    const properties = { documentName: "Ünicode & co.pdf", contentType: "application/pdf", size: CONTENT.length };
    return LargeFileUploadTask.createUploadSession(client, `${document}/createUploadSession`, { properties });
}

function newTask(client, session, options = {}) {
    const file = new FileUpload(CONTENT, "Ünicode & co.pdf", CONTENT.length);
    return new LargeFileUploadTask(client, file, session, { rangeSize: SLICE, ...options });
}

/** Sends the bytes from `first` to `last`, by hand. */
function send(task, first, last) {
    return task.uploadSlice(CONTENT.subarray(first, last + 1), new Range(first, last), CONTENT.length);
}

async function assertUploaded(client, document, result) {
    assert.equal(result.responseBody.displayName, "Ünicode & co.pdf");
    assert.equal(result.responseBody.documentName, "Ünicode & co.pdf");
    assert.equal(result.responseBody.contentType, "application/pdf");
    assert.equal(result.responseBody.size, CONTENT.length);
    assert.ok(document.endsWith(result.responseBody.id));
    const bytes = await client.api(`${document}/$value`).responseType(ResponseType.ARRAYBUFFER).get();
    assert.ok(CONTENT.equals(Buffer.from(bytes)), "the download differs from the upload");
}

/** Checks an error as the SDK throws it. */
function refused(statusCode, reason) {
    return (error) => {
        assert.ok(error instanceof GraphError, `${error}`);
        const { innerError } = JSON.parse(error.body);
        assert.deepEqual({ statusCode: error.statusCode, reason: innerError.reason }, { statusCode, reason });
        assert.ok(error.requestId);
        return true;
    };
}

for (const host of [UPLOAD_HOST, OTHER_NAME]) {
    const client = clientAt(host);
    const authorized = host === UPLOAD_HOST;

    describe(`the API at ${host}, upload URLs at ${UPLOAD_HOST}`, () => {
        for (const queue of [`/print/printers/${PRINTER}`, `/print/shares/${SHARE}`]) {
            test(`a job's life on ${queue.split("/")[2]}`, async () => {
                const job = await newJob(client, queue);
                await assert.rejects(client.api(`${job.path}/start`).post({}), refused(409, "DOCUMENT_NOT_UPLOADED"));

                const session = await newSession(client, job.document);
                assert.equal(new URL(session.url).hostname, UPLOAD_HOST);
                assert.ok(session.expiry > new Date());
                const sent = [];
                const progress = (range) => sent.push([range.minValue, range.maxValue]);
                const result = await newTask(client, session, { uploadEventHandlers: { progress } }).upload();
                await assertUploaded(client, job.document, result);
                assert.equal(sent.length, 6);
                assert.deepEqual(sent.at(-1), [5 * SLICE, CONTENT.length - 1]);
                assert.deepEqual(slices(session), [202, 202, 202, 202, 202, 201]);
                assert.ok(onUploadUrl(session).every((request) => request.authorized === authorized));

                const { status } = await client.api(job.path).select("id,status").get();
                assert.deepEqual(status.details, []);
                const { value } = await client.api(`${job.path}/documents`).get();
                assert.deepEqual(value.map(({ id, size }) => [id, size]), [[job.documentId, CONTENT.length]]);
                const started = await client.api(`${job.path}/start`).post({});
                assert.equal(started.state, "pending");
            });
        }

        test("beta, a stream in place of a file, and slices of the SDK's default size", async () => {
            const beta = clientAt(host, "beta");
            const job = await newJob(beta, `/print/printers/${PRINTER}`);
            const content = randomBytes(11_000_001);
            const properties = { documentName: "stream", contentType: "text/plain", size: content.length };
            const path = `${job.document}/createUploadSession`;
            const session = await LargeFileUploadTask.createUploadSession(beta, path, { properties });
            const file = new StreamUpload(Readable.from(content, { objectMode: false }), "stream", content.length);
            const result = await new LargeFileUploadTask(beta, file, session).upload();
            assert.equal(result.responseBody.displayName, "stream");
            assert.deepEqual(slices(session), [202, 202, 201]);
            const stream = await beta.api(`${job.document}/$value`).getStream();
            const bytes = Buffer.from(await new Response(stream).arrayBuffer());
            assert.ok(content.equals(bytes), "the download differs from the upload");
        });

        test("an upload that broke off is resumed by another task", async () => {
            const job = await newJob(client, `/print/printers/${PRINTER}`);
            const session = await newSession(client, job.document);
            const progress = ({ minValue }) => {
                if (minValue === 2 * SLICE) throw new Error("the power is cut");
            };
            const first = newTask(client, { ...session }, { uploadEventHandlers: { progress } });
            await assert.rejects(first.upload(), /the power is cut/);

            const second = newTask(client, { ...session });
            const { nextExpectedRanges } = await second.getStatus();
            assert.deepEqual(nextExpectedRanges, [`${3 * SLICE}-${CONTENT.length - 1}`]);
            await assertUploaded(client, job.document, await second.resume());
            assert.deepEqual(slices(session), [202, 202, 202, 202, 202, 201]);
        });

        test("gaps smaller than a slice, and not aligned with slices, are filled", async () => {
            const job = await newJob(client, `/print/printers/${PRINTER}`);
            const session = await newSession(client, job.document);
            const byHand = newTask(client, { ...session });
            await send(byHand, 1000, SLICE + 999);
            await send(byHand, 2 * SLICE + 500, 3 * SLICE);
            const { nextExpectedRanges } = await send(byHand, CONTENT.length - 1, CONTENT.length - 1);
            assert.deepEqual(nextExpectedRanges, [
                "0-999",
                `${SLICE + 1000}-${2 * SLICE + 499}`,
                `${3 * SLICE + 1}-${CONTENT.length - 2}`,
            ]);

            const result = await newTask(client, { ...session }).resume();
            await assertUploaded(client, job.document, result);
            assert.ok(slices(session).every((status) => status < 300));
        });

        test("four slices at once, in any order", async () => {
            const job = await newJob(client, `/print/printers/${PRINTER}`);
            const session = await newSession(client, job.document);
            const task = newTask(client, session);
            await Promise.all([3, 1, 4, 2].map((slice) => send(task, slice * SLICE, (slice + 1) * SLICE - 1)));
            const { nextExpectedRanges } = await task.getStatus();
            assert.deepEqual(nextExpectedRanges, [`0-${SLICE - 1}`, `${5 * SLICE}-${CONTENT.length - 1}`]);
            await assertUploaded(client, job.document, await task.resume());
        });

        test("an owner who lost the upload URL gets a new one", async () => {
            const job = await newJob(client, `/print/shares/${SHARE}`);
            const session = await newSession(client, job.document);
            await send(newTask(client, session), 0, SLICE - 1);

            const found = await client.api(`${job.document}/uploadSession`).get();
            assert.equal(found.size, CONTENT.length);
            const again = await newSession(client, job.document);
            assert.equal(new URL(again.url).pathname, new URL(session.url).pathname);
            const task = newTask(client, { url: found.uploadUrl, expiry: new Date(found.expirationDateTime) });
            await assertUploaded(client, job.document, await task.resume());
            assert.deepEqual(slices(session), [202, 202, 202, 202, 202, 201]);
        });

        test("a canceled upload has ended, and a new one can begin", async () => {
            const job = await newJob(client, `/print/printers/${PRINTER}`);
            const session = await newSession(client, job.document);
            const task = newTask(client, session);
            await send(task, 0, SLICE - 1);

            const response = await task.cancel();
            assert.equal(response.status, 204);
            assert.equal(task.getUploadSession().isCancelled, true);
            await assert.rejects(task.getStatus(), refused(404, "UPLOAD_SESSION_CANCELED"));
            await assert.rejects(task.resume(), refused(404, "UPLOAD_SESSION_CANCELED"));
            await assert.rejects(send(task, SLICE, 2 * SLICE - 1), refused(409, "UPLOAD_SESSION_CANCELED"));
            assert.equal((await task.cancel()).status, 204);
            assert.ok(onUploadUrl(session).every((request) => request.authorized === authorized));

            const next = await newSession(client, job.document);
            assert.notEqual(new URL(next.url).pathname, new URL(session.url).pathname);
            await assertUploaded(client, job.document, await newTask(client, next).upload());
        });

        test("a task that sends while it is canceled elsewhere gets the reason", async () => {
            const job = await newJob(client, `/print/printers/${PRINTER}`);
            const session = await newSession(client, job.document);
            const file = new FileUpload(CONTENT, "a.pdf", CONTENT.length);
            const sliceFile = async (range) => {
                if (range.minValue === 2 * SLICE) await newTask(client, { ...session }).cancel();
                return file.sliceFile(range);
            };
            const task = new LargeFileUploadTask(client, { ...file, sliceFile }, session, { rangeSize: SLICE });
            // For a slice's error the SDK throws the body itself.
            await assert.rejects(task.upload(), ({ error }) => error.innerError.reason === "UPLOAD_SESSION_CANCELED");
            assert.deepEqual(slices(session), [202, 202, 409]);
        });

        test("a slice that is refused before all of it was sent gets the reason", async () => {
            const job = await newJob(client, `/print/printers/${PRINTER}`);
            const content = Buffer.alloc(20_000_000);
            const properties = { documentName: "zeros", contentType: "text/plain", size: content.length };
            const path = `${job.document}/createUploadSession`;
            const session = await LargeFileUploadTask.createUploadSession(client, path, { properties });
            const send = (rangeSize) => {
                const file = new FileUpload(content, "zeros", content.length);
                const active = { ...session, isCancelled: false };
                return new LargeFileUploadTask(client, file, active, { rangeSize }).upload();
            };
            // Larger than the largest allowed range.
            await assert.rejects(send(20_000_000), ({ error }) => error.innerError.reason === "RANGE_TOO_LARGE");
            await newTask(client, session).cancel();
            const isCanceled = ({ error }) => error.innerError.reason === "UPLOAD_SESSION_CANCELED";
            await assert.rejects(send(9_000_000), isCanceled);
            assert.deepEqual(slices(session), [413, 409]);
        });

        test("a completed session cannot be read or canceled", async () => {
            const job = await newJob(client, `/print/printers/${PRINTER}`);
            const session = await newSession(client, job.document);
            const task = newTask(client, session);
            await task.upload();
            await assert.rejects(task.getStatus(), refused(404, "UPLOAD_SESSION_COMPLETED"));
            assert.equal((await send(task, 5 * SLICE, CONTENT.length - 1)).id, job.documentId);
            // The SDK resolves, and does not set isCancelled.
            assert.equal((await task.cancel()).status, 404);
            assert.equal(session.isCancelled, false);
            await assert.rejects(newSession(client, job.document), refused(409, "DOCUMENT_ALREADY_UPLOADED"));
        });

        test("canceling a job cancels its upload", async () => {
            const job = await newJob(client, `/print/printers/${PRINTER}`);
            const session = await newSession(client, job.document);
            await send(newTask(client, session), 0, SLICE - 1);
            await client.api(`${job.path}/cancel`).post({});

            const { status } = await client.api(job.path).get();
            assert.equal(status.state, "canceled");
            await assert.rejects(newTask(client, session).getStatus(), refused(404, "UPLOAD_SESSION_CANCELED"));
            await assert.rejects(newSession(client, job.document), refused(409, "PRINT_JOB_CANCELED"));
            await assert.rejects(client.api(`${job.path}/start`).post({}), refused(409, "PRINT_JOB_CANCELED"));
        });
    });
}
