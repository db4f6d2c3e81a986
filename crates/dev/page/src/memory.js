// What the page still knows when it is loaded again: which document, and which file. No token and no upload URL.

const KEY = "print-upload";

/** How much of a file is read at once, in bytes. */
const PIECE = 8 * 1024 * 1024;

export async function remember(documentPath, file) {
    const description = { name: file.name, size: file.size, fingerprint: await fingerprint(file) };
    localStorage.setItem(KEY, JSON.stringify({ documentPath, file: description }));
}

export function remembered() {
    return JSON.parse(localStorage.getItem(KEY));
}

export function forget() {
    localStorage.removeItem(KEY);
}

/** Whether a file has the content that is remembered. Otherwise the document would become a mix of two files. */
export async function isSame(file, description) {
    return file.size === description.size && (await fingerprint(file)) === description.fingerprint;
}

/** The SHA-256 of the SHA-256s of the file's pieces. */
async function fingerprint(file) {
    const digests = [];
    for (let start = 0; start < file.size; start += PIECE) {
        digests.push(await digestOf(file.slice(start, start + PIECE)));
    }
    const bytes = new Uint8Array(await digestOf(new Blob(digests)));
    return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function digestOf(blob) {
    return crypto.subtle.digest("SHA-256", await blob.arrayBuffer());
}
