// The HTTP client of Kiota's SDKs with the middleware that compresses JSON, and falls back only on 415 (the default of
// its .NET, Go and Java SDKs); and undici, the client that is built into Node.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import test from "node:test";
import { gzipSync } from "node:zlib";

import { KiotaClientFactory, MiddlewareFactory } from "@microsoft/kiota-http-fetchlibrary";

const { REST_URL, OWNER_TOKEN, PRINTER } = process.env;
const authorization = { authorization: `Bearer ${OWNER_TOKEN}` };
const json = { ...authorization, "content-type": "application/json" };
const content = randomBytes(100_000);
const properties = { documentName: "poster.pdf", contentType: "application/pdf", size: content.length };
const jobs = `${REST_URL}/v1.0/print/printers/${PRINTER}/jobs`;

/** The URL of the document of a new job. */
async function newDocument() {
  const created = await fetch(jobs, { method: "POST", headers: json, body: "{}" });
  assert.equal(created.status, 201);
  const job = await created.json();
  return `${jobs}/${job.id}/documents/${job.documents[0].id}`;
}

function put(url, body, headers) {
  const range = `bytes 0-${content.length - 1}/${content.length}`;
  return fetch(url, { method: "PUT", headers: { "content-range": range, ...headers }, body });
}

test("Kiota's client compresses JSON, is refused, and falls back", async () => {
  const kiota = KiotaClientFactory.create(undefined, MiddlewareFactory.getPerformanceMiddlewares());
  const request = { method: "POST", headers: json, body: JSON.stringify({ properties }) };
  const created = await kiota.executeFetch(`${await newDocument()}/createUploadSession`, request, {});
  assert.equal(created.status, 200);
  const job = await kiota.executeFetch(jobs, { method: "POST", headers: json, body: "{}" }, {});
  assert.equal(job.status, 201);
});

test("undici: a compressed slice is refused, and the connection is used on", async () => {
  const document = await newDocument();
  const request = { method: "POST", headers: json, body: `\u{feff}${JSON.stringify({ properties })}` };
  const created = await fetch(`${document}/microsoft.graph.createUploadSession`, request);
  assert.equal(created.status, 200);
  const { uploadUrl } = await created.json();
  const compressed = gzipSync(content);
  for (const body of [compressed, compressed.subarray(0, content.length)]) {
    const refused = await put(uploadUrl, body, { "content-encoding": "gzip" });
    assert.equal(refused.status, 415);
    assert.equal(refused.headers.get("accept-encoding"), "identity");
    await refused.arrayBuffer();
  }
  assert.equal((await put(uploadUrl, content)).status, 201);
  const value = await fetch(`${document}/%24value`, { headers: authorization });
  assert.deepEqual(Buffer.from(await value.arrayBuffer()), content);
});
