// The browser, and the page as a person uses it.

import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { chromium } from "playwright-core";

const { REST_URL, CHROMIUM, DATA_DIR, TENANT, OWNER_TOKEN } = process.env;

export const PAGE = `${REST_URL}/`;
/** The same page of another stack, over TLS and HTTP/2. */
export const TLS_PAGE = `${process.env.TLS_REST_URL}/`;

export function launch(...flags) {
    return chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", ...flags] });
}

/** The page in a window of its own, and what it sends. */
export class Visit {
    static async start(browser, { url = PAGE, ...options } = {}) {
        const context = await browser.newContext({ viewport: { width: 800, height: 900 }, ...options });
        const visit = new Visit();
        visit.context = context;
        visit.page = await context.newPage();
        visit.page.setDefaultTimeout(20_000);
        visit.problems = [];
        visit.slices = [];
        visit.acknowledged = [];
        visit.mostAtOnce = 0;
        visit.url = url;
        visit.listen();
        await visit.page.goto(url);
        return visit;
    }

    listen() {
        let inFlight = 0;
        const isSlice = (request) => request.method() === "PUT";
        const rangeOf = (request) => request.headers()["content-range"].match(/\d+-\d+/)[0];
        this.page.on("pageerror", (error) => this.problems.push(`${error}`));
        this.page.on("console", (message) => {
            // Chromium prints every refusal as an error. Those are what the page is about.
            const isRefusal = message.text().startsWith("Failed to load resource");
            if (message.type() === "error" && !isRefusal) this.problems.push(message.text());
        });
        this.page.on("request", (request) => {
            if (!request.url().startsWith(this.url)) this.problems.push(`a request to ${request.url()}`);
            if (!isSlice(request)) return;
            inFlight += 1;
            this.mostAtOnce = Math.max(this.mostAtOnce, inFlight);
            this.slices.push(rangeOf(request));
        });
        this.page.on("response", (response) => {
            const request = response.request();
            if (isSlice(request) && response.ok()) this.acknowledged.push(rangeOf(request));
        });
        for (const event of ["requestfinished", "requestfailed"]) {
            this.page.on(event, (request) => {
                if (isSlice(request)) inFlight -= 1;
            });
        }
    }

    async close() {
        await this.context.close();
        assert.deepEqual(this.problems, []);
    }

    button(name) {
        return this.page.getByRole("button", { name, exact: true });
    }

    choose({ path }) {
        return this.page.getByLabel("Drop a file here, or choose one:").setInputFiles(path);
    }

    /** Drops a file from the desktop. */
    async drop({ name, content }) {
        const data = await this.page.evaluateHandle(
            ([base64, fileName]) => {
                const transfer = new DataTransfer();
                const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
                transfer.items.add(new File([bytes], fileName, { type: "application/pdf" }));
                return transfer;
            },
            [content.toString("base64"), name],
        );
        for (const type of ["dragenter", "dragover", "drop"]) {
            await this.page.dispatchEvent("#drop", type, { dataTransfer: data });
        }
    }

    setLine(label) {
        return this.page.getByLabel("Line:").selectOption({ label });
    }

    /** Makes four slices take long. So all of them are in flight when the upload is canceled. */
    async stall() {
        await this.setLine("very slow: 2 minutes for a document");
        // Those that were in flight before end soon.
        const sent = this.slices.length;
        await this.has(sent, "stored");
        await this.has(4, "sending");
    }

    /** Waits until the page says so. */
    async says(text) {
        await this.page.getByRole("status").filter({ hasText: text }).waitFor();
        return this.page.getByRole("status").innerText();
    }

    count(state) {
        return this.page.locator(`#map .${state}`).count();
    }

    /** Waits until that many cells of the map are in a state. */
    async has(atLeast, state) {
        const enough = ([wanted, name]) => document.querySelectorAll(`#map .${name}`).length >= wanted;
        await this.page.waitForFunction(enough, [atLeast, state]);
    }

    /** The rows below "What happened": who, request and answer. */
    async log() {
        const rows = await this.page.locator("#log-rows tr").all();
        return Promise.all(rows.map((row) => row.locator("th, td").allInnerTexts()));
    }

    /** A picture of the lower part of the page: the map, and what happened. */
    async takePicture(path) {
        const { y, height } = await this.page.locator("#shown").boundingBox();
        const { width } = this.page.viewportSize();
        await this.page.screenshot({ path, fullPage: true, clip: { x: 0, y, width, height: height + 16 } });
    }

    /** The path of the document that is being uploaded. */
    documentPath() {
        return this.page.evaluate(() => JSON.parse(localStorage.getItem("print-upload")).documentPath);
    }
}

/** A file on the disk. */
export function newFile(name, content) {
    const path = join(mkdtempSync(`${dirname(DATA_DIR)}/file-`), name);
    writeFileSync(path, content);
    return { name, path, content };
}

/** A call of the owner outside the browser. */
export function asOwner(path) {
    return fetch(`${REST_URL}/v1.0${path}`, { headers: { Authorization: `Bearer ${OWNER_TOKEN}` } });
}

/** What the service returns as the document. */
export async function download(documentPath) {
    const response = await asOwner(`${documentPath}/$value`);
    assert.equal(response.status, 200);
    return Buffer.from(await response.arrayBuffer());
}

/** The id of the document's active session. */
export async function sessionOf(documentPath) {
    const { uploadUrl } = await (await asOwner(`${documentPath}/uploadSession`)).json();
    return new URL(uploadUrl).pathname.split("/").at(-1);
}

/** The files of a session in the folder of the object store. */
export function filesOf(session) {
    const folder = `${DATA_DIR}/bytes/${TENANT}/${session}`;
    return existsSync(folder) ? readdirSync(folder) : [];
}
