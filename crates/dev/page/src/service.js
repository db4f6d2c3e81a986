// The service as Microsoft's JavaScript SDK sees it, and what only print-upload-dev knows.

import {
    Client,
    FileUpload,
    LargeFileUploadTask,
    MiddlewareFactory,
    Range,
} from "@microsoft/microsoft-graph-client";

/** Where the SDK sends to. It presents tokens to https addresses only, so it is not given the page's own. */
const SDK_ORIGIN = "https://localhost";

/** How many slices the service accepts at once for one session. */
export const WRITERS = 4;

/** How many seconds a document takes at least. */
export const line = { seconds: 0 };

/** The last step before the SDK's own fetch: sends to the origin of this page, over the chosen line. */
class ToThisPage {
    setNext(next) {
        this.next = next;
    }

    execute(context) {
        const { pathname, search } = new URL(context.request);
        context.request = pathname + search;
        const { headers } = context.options;
        if (line.seconds > 0 && headers["Content-Range"]) {
            const size = Number(headers["Content-Range"].split("/")[1]);
            headers["x-bytes-per-second"] = `${Math.ceil(size / line.seconds / WRITERS)}`;
        }
        return this.next.execute(context);
    }
}

/** A client of the SDK with its default chain, for one user. */
function clientOf(token) {
    const middleware = MiddlewareFactory.getDefaultMiddlewareChain({ getAccessToken: async () => token });
    middleware.splice(-1, 0, new ToThisPage());
    return Client.initWithMiddleware({
        baseUrl: SDK_ORIGIN,
        customHosts: new Set([new URL(SDK_ORIGIN).hostname]),
        middleware,
    });
}

async function fromDev(path) {
    const response = await fetch(path);
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return response.json();
}

/** The clients of the owner and of another user, and the printer. */
export async function connect() {
    const { printer, owner, other } = await fromDev("/dev/tokens.json");
    return { printer, owner: clientOf(owner), other: clientOf(other) };
}

/** Creates a print job. Returns the path of its document. */
export async function newDocument({ owner, printer }) {
    const jobs = `/print/printers/${printer}/jobs`;
    const job = await owner.api(jobs).post({ configuration: {} });
    return `${jobs}/${job.id}/documents/${job.documents[0].id}`;
}

/** The task of a new upload session. */
export async function begin(owner, document, file) {
    const properties = {
        documentName: file.name,
        contentType: file.type || "application/octet-stream",
        size: file.size,
    };
    const path = `${document}/createUploadSession`;
    return taskOf(owner, file, await LargeFileUploadTask.createUploadSession(owner, path, { properties }));
}

/** The document's active upload session, as its owner gets it without the upload URL; null if there is none. */
export async function find(owner, document) {
    try {
        return await owner.api(`${document}/uploadSession`).get();
    } catch (error) {
        if (error.statusCode === 404) return null;
        throw error;
    }
}

/** The task of a session that was found. */
export function continueWith(owner, file, found) {
    return taskOf(owner, file, { url: found.uploadUrl, expiry: new Date(found.expirationDateTime) });
}

function taskOf(client, file, session) {
    const { pathname, search } = new URL(session.url);
    return new LargeFileUploadTask(client, new FileUpload(file, file.name, file.size), {
        ...session,
        url: SDK_ORIGIN + pathname + search,
    });
}

export function sendSlice(task, file, { first, last }) {
    return task.uploadSlice(file.slice(first, last + 1), new Range(first, last), file.size);
}

/** The id of a task's session. */
export function sessionOf(task) {
    return new URL(task.getUploadSession().url).pathname.split("/").at(-1);
}

/** The files that the object store holds of a session: their number and their bytes. */
export async function stored(session) {
    const { files } = await fromDev(`/dev/store/${session}`);
    return { files: files.length, bytes: files.reduce((sum, { size }) => sum + size, 0) };
}

/** Whether the document that the service holds equals the file, byte by byte. */
export async function equals(owner, document, file) {
    const reader = (await owner.api(`${document}/$value`).getStream()).getReader();
    let position = 0;
    for (;;) {
        const { done, value } = await reader.read();
        if (done) return position === file.size;
        const expected = new Uint8Array(await file.slice(position, position + value.length).arrayBuffer());
        if (expected.length !== value.length || expected.some((byte, index) => byte !== value[index])) return false;
        position += value.length;
    }
}

/** An error of the SDK as its status and reason, for example "404 UPLOAD_SESSION_CANCELED". */
export function answerOf(error) {
    if (!(error.statusCode > 0)) return "no answer: the connection failed";
    try {
        return `${error.statusCode} ${JSON.parse(error.body).innerError.reason}`;
    } catch {
        return `${error.statusCode} ${error.message}`;
    }
}
