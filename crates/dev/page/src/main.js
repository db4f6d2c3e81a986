// The page: one upload at a time, and what can be done with it.

import { cancel, letOtherUserTry } from "./endings.js";
import { bytes, DocumentMap } from "./map.js";
import { forget, isSame, remember, remembered } from "./memory.js";
import { sampleFile } from "./sample.js";
import * as service from "./service.js";
import { slicesOf } from "./slices.js";
import { Transfer } from "./transfer.js";
import { announce, canUse, controls, log, setState, showName, state } from "./view.js";

/** The clients of the SDK, one for each user. */
let people;
/** The document to upload next. A new session can begin on a document whose upload was canceled. */
let nextDocument = null;
/** The upload that is shown. After a reload its `file` is only a description, until it is chosen again. */
let upload = null;

function showUpload(documentPath, task, file, missing) {
    const map = new DocumentMap(file.size, missing);
    const transfer = new Transfer(task, file, (slice, state) => map.change(slice, state));
    upload = { documentPath, task, file, map, transfer };
    showName(`${file.name}, ${bytes(file.size)}`);
}

/** After a reload: the upload that was not finished, found by its document. */
async function findUnfinished() {
    const memory = remembered();
    const found = memory && (await service.find(people.owner, memory.documentPath));
    if (!found) {
        forget();
        return;
    }
    const task = service.continueWith(people.owner, memory.file, found);
    showUpload(memory.documentPath, task, memory.file, found.nextExpectedRanges);
    setState("unfinished");
    announce(`An upload is not finished. Choose ${memory.file.name} again to go on, or cancel it.`);
}

async function choose(file) {
    if (!canUse("file")) {
        announce("One upload at a time: cancel this one, or wait until it has ended.");
    } else if (state() === "unfinished") {
        await goOn(file);
    } else {
        await begin(file);
    }
}

async function begin(file) {
    setState("busy");
    log.clear();
    announce(`Reading ${file.name}.`);
    people = await service.connect();
    const documentPath = nextDocument ?? (await service.newDocument(people));
    nextDocument = null;
    const task = await service.begin(people.owner, documentPath, file);
    await remember(documentPath, file);
    const missing = [`0-${file.size - 1}`];
    showUpload(documentPath, task, file, missing);
    announce(`The upload of ${file.name} has begun.`);
    await send(missing);
}

async function goOn(file) {
    setState("busy");
    if (!(await isSame(file, upload.file))) {
        setState("unfinished");
        announce(`This is another file. Choose ${upload.file.name} again, or cancel its upload.`);
        return;
    }
    const { nextExpectedRanges } = await upload.task.getStatus();
    showUpload(upload.documentPath, upload.task, file, nextExpectedRanges);
    announce(`Only what is missing is sent: ${bytes(upload.map.stored)} are stored already.`);
    await send(nextExpectedRanges);
}

/** Sends until the document is complete, or the upload is paused or canceled, or a slice fails. */
async function send(missing) {
    const { transfer, file } = upload;
    setState("uploading");
    try {
        const document = await transfer.run(slicesOf(missing, file.size));
        if (document) {
            await complete(document);
        } else if (state() === "pausing") {
            setState("paused");
            announce(`Paused. ${bytes(upload.map.stored)} are acknowledged.`);
        }
    } catch (error) {
        if (state() === "canceling") return;
        if (hasEnded(error)) throw error;
        setState("paused");
        announce(`A slice failed: ${messageOf(error)}. Resume sends it again.`);
    }
}

async function complete({ documentName, size }) {
    setState("busy");
    const isEqual = await service.equals(people.owner, upload.documentPath, upload.file);
    log.add("Owner", "The last PUT", `201: ${documentName}, ${size} bytes`);
    const equality = isEqual ? "equals the file, byte by byte" : "does NOT equal the file";
    log.add("Owner", "GET of the document", `200: it ${equality}`);
    end();
    announce(`Complete. The document ${equality}.`);
}

async function pauseOrResume() {
    if (state() === "uploading") {
        setState("pausing");
        upload.transfer.stop();
        announce("Pausing. The slices in flight are still sent.");
        return;
    }
    setState("busy");
    const { nextExpectedRanges } = await upload.task.getStatus();
    announce("Resumed.");
    await send(nextExpectedRanges);
}

async function cancelUpload() {
    setState("canceling");
    announce("Canceling.");
    await cancel(upload, people);
    nextDocument = upload.documentPath;
    end();
}

function end() {
    forget();
    setState("idle");
}

function messageOf(error) {
    return error.statusCode > 0 ? service.answerOf(error) : error.message;
}

/** Whether an upload has ended elsewhere, for example by `grpcurl` in a terminal. */
function hasEnded(error) {
    return error.statusCode === 404 || /UPLOAD_SESSION_(CANCELED|EXPIRED)/.test(service.answerOf(error));
}

/** Runs an action of the user. What it throws is a message. */
async function act(action) {
    try {
        await action();
    } catch (error) {
        announce(`That failed: ${messageOf(error)}.`);
        if (!upload) {
            setState("idle");
        } else if (!remembered() || hasEnded(error)) {
            end();
        } else {
            setState(upload.file instanceof Blob ? "paused" : "unfinished");
        }
    }
}

function onClick(name, action) {
    controls[name].addEventListener("click", () => canUse(name) && act(action));
}

function setLine() {
    service.line.seconds = Number(controls.line.value);
}

setState("busy");
setLine();
controls.line.addEventListener("change", setLine);
controls.file.addEventListener("change", () => {
    const [file] = controls.file.files;
    // So that the same file can be chosen again.
    controls.file.value = "";
    if (file) act(() => choose(file));
});
controls.file.addEventListener("click", (event) => {
    if (!canUse("file")) event.preventDefault();
});
for (const type of ["dragenter", "dragover", "dragleave", "drop"]) {
    document.addEventListener(type, (event) => {
        event.preventDefault();
        controls.drop.classList.toggle("over", type === "dragenter" || type === "dragover");
        const [file] = event.dataTransfer.files;
        if (type === "drop" && file) act(() => choose(file));
    });
}
onClick("sample", () => choose(sampleFile()));
onClick("pause", pauseOrResume);
onClick("cancel", cancelUpload);
onClick("other", () => letOtherUserTry(upload, people));

act(async () => {
    people = await service.connect();
    await findUnfinished();
    if (state() === "busy") {
        setState("idle");
        announce("Ready.");
    }
});
