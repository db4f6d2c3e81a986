// What the page is for: an upload is canceled, and another user is refused.

import { bytes } from "./map.js";
import { answerOf, sendSlice, sessionOf, stored } from "./service.js";
import { announce, log } from "./view.js";

/** How long to wait until the store holds nothing, in milliseconds. */
const STORE_TIMEOUT = 10_000;
const STORE_POLL = 50;

const since = (start, end = performance.now()) => `${Math.max(0, Math.round(end - start))} ms`;

/** Cancels the upload. Then shows what everybody is told who has to do with it. */
export async function cancel({ task, transfer, file, documentPath }, { owner }) {
    const session = sessionOf(task);
    const before = await stored(session);
    transfer.stop();
    const inFlight = [...transfer.inFlight.values()];

    const start = performance.now();
    const { status } = await task.cancel();
    log.add("Owner", "DELETE, which cancels the upload", `${status}, ${since(start)}`);
    if (status !== 204) throw new Error(`the upload was not canceled: ${status}`);

    for (const { slice, answer, time } of await Promise.all(inFlight)) {
        const when = answer.startsWith("20") ? "before the cancel" : since(start, time);
        log.add("Writer", `PUT ${slice.first}–${slice.last}, in flight`, `${answer}, ${when}`);
    }
    if (file instanceof Blob) {
        const late = { first: 0, last: Math.min(file.size, 1024) - 1 };
        const answer = await answerTo(sendSlice(task, file, late));
        log.add("Writer", `PUT ${late.first}–${late.last}, sent afterwards`, answer);
    }
    log.add("Owner", "GET of the session", await answerTo(owner.api(`${documentPath}/uploadSession`).get()));
    const after = await untilEmpty(session);
    log.add("Store", "Files of the session", `${held(before)} before; ${held(after)} after ${since(start)}`);

    const writers = inFlight.length === 1 ? "1 slice was" : `${inFlight.length} slices were`;
    const rest = after.files === 0 ? "the store holds nothing of it" : `the store still holds ${held(after)}`;
    announce(`Canceled. ${writers} in flight; ${rest}. A new upload can begin at once.`);
    log.focus();
}

/** Another user of the same tenant, who may send print jobs but does not own this session. */
export async function letOtherUserTry({ documentPath }, { other }) {
    const request = () => other.api(`${documentPath}/uploadSession`);
    const look = await answerTo(request().get());
    const cancel = await answerTo(request().delete());
    log.add("Another user", "GET of the session", look);
    log.add("Another user", "DELETE, to cancel the upload", cancel);
    announce(`Another user tried to look at the upload (${look}) and to cancel it (${cancel}).`);
}

async function answerTo(request) {
    try {
        await request;
        return "accepted";
    } catch (error) {
        return answerOf(error);
    }
}

async function untilEmpty(session) {
    const deadline = performance.now() + STORE_TIMEOUT;
    for (;;) {
        const held = await stored(session);
        if (held.files === 0 || performance.now() > deadline) return held;
        await new Promise((resolve) => setTimeout(resolve, STORE_POLL));
    }
}

function held({ files, bytes: count }) {
    return files === 0 ? "nothing" : `${files} files, ${bytes(count)}`;
}
