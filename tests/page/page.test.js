// The page that `print-upload-dev up` serves at $REST_URL, in the Chromium at $CHROMIUM.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { after, before, test } from "node:test";

import { asOwner, download, filesOf, launch, newFile, PAGE, sessionOf, TLS_PAGE, Visit } from "./browser.js";

const { PICTURE } = process.env;
const AXE = readFileSync(new URL("node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
const FAST = "as fast as it can";

/** 64 slices of 48 KiB, the last one smaller. */
const FILE = newFile("poster.pdf", randomBytes(3 * 1024 * 1024 - 12_345));
/** Has the same name and size, but another content. */
const OTHER_FILE = newFile(FILE.name, randomBytes(FILE.content.length));

let browser;
before(async () => {
    browser = await launch();
});
after(() => browser?.close());

/** How many bytes ranges have: "0-99" has 100. */
function bytesOf(ranges) {
    const bounds = ranges.map((range) => range.split("-").map(Number));
    return bounds.reduce((sum, [first, last]) => sum + last - first + 1, 0);
}

async function visit(options, use) {
    const visited = await Visit.start(browser, options);
    await visited.says("Ready.");
    await use(visited);
    await visited.close();
}

test("a dropped file is sent in parallel, paused, resumed and completed", () =>
    visit({}, async (person) => {
        await person.drop(FILE);
        await person.has(6, "stored");
        await person.button("Pause").click();
        await person.says("Paused.");
        const documentPath = await person.documentPath();
        const stored = await person.count("stored");
        assert.equal(await person.count("sending"), 0);
        assert.ok(stored < 64);
        const sent = person.slices.length;
        assert.equal(sent, stored, "every slice that was sent is acknowledged");
        const { nextExpectedRanges } = await (await asOwner(`${documentPath}/uploadSession`)).json();
        assert.equal(Math.ceil(bytesOf(nextExpectedRanges) / (48 * 1024)), 64 - stored);

        await person.setLine(FAST);
        await person.button("Resume").click();
        assert.match(await person.says("Complete."), /equals the file, byte by byte/);
        assert.equal(await person.count("stored"), 64);
        assert.equal(person.slices.length, 64, "no slice is sent twice");
        assert.equal(person.mostAtOnce, 4);
        assert.ok(FILE.content.equals(await download(documentPath)));
    }));

test("after a reload only what is missing is sent", () =>
    visit({}, async (person) => {
        await person.choose(FILE);
        await person.has(6, "stored");
        const documentPath = await person.documentPath();
        await person.page.reload();
        assert.match(await person.says("not finished"), /Choose poster.pdf again/);
        await person.choose(OTHER_FILE);
        await person.says("This is another file.");

        const stored = person.acknowledged.splice(0);
        person.slices.length = 0;
        await person.setLine(FAST);
        await person.choose(FILE);
        await person.says("Complete.");
        assert.deepEqual(person.slices.filter((slice) => stored.includes(slice)), []);
        assert.ok(bytesOf(person.slices) <= FILE.content.length - bytesOf(stored));
        assert.ok(FILE.content.equals(await download(documentPath)));
    }));

test("a cancel reaches every writer, nothing is left, and a new upload begins on the same document", () =>
    visit({}, async (person) => {
        await person.button("Upload a sample of 16 MiB").click();
        await person.has(16, "stored");
        const documentPath = await person.documentPath();
        const session = await sessionOf(documentPath);
        assert.ok(filesOf(session).length >= 16);
        await person.stall();

        await person.button("Let another user try").click();
        await person.says("Another user tried");
        await person.button("Cancel the upload").click();
        await person.says("Canceled. 4 slices were in flight; the store holds nothing of it.");
        const [look, cancel, deleted, ...rest] = await person.log();
        assert.deepEqual(look, ["Another user", "GET of the session", "403 NOT_SESSION_OWNER"]);
        assert.deepEqual(cancel, ["Another user", "DELETE, to cancel the upload", "403 NOT_SESSION_OWNER"]);
        assert.match(deleted.join(), /^Owner,DELETE.*,204, \d+ ms$/);
        const inFlight = rest.filter(([who, request]) => who === "Writer" && request.endsWith("in flight"));
        assert.equal(inFlight.length, 4);
        for (const [, , answer] of inFlight) assert.match(answer, /^409 UPLOAD_SESSION_CANCELED, \d+ ms$/);
        const [late, get, store] = rest.slice(4);
        assert.deepEqual(late, ["Writer", "PUT 0–1023, sent afterwards", "409 UPLOAD_SESSION_CANCELED"]);
        assert.deepEqual(get, ["Owner", "GET of the session", "404 UPLOAD_SESSION_CANCELED"]);
        assert.match(store.join(), /^Store,Files of the session,\d+ files, [\d.]+ MiB before; nothing after \d+ ms$/);
        assert.deepEqual(filesOf(session), []);
        if (PICTURE) await person.takePicture(PICTURE);

        await person.setLine(FAST);
        await person.choose(FILE);
        await person.says("Complete.");
        assert.ok(FILE.content.equals(await download(documentPath)), "it is the same document");
    }));

test("the same over TLS and HTTP/2", () =>
    visit({ url: TLS_PAGE, ignoreHTTPSErrors: true }, async (person) => {
        await person.choose(FILE);
        await person.has(4, "stored");
        await person.stall();
        const protocols = () => performance.getEntriesByType("resource").map(({ nextHopProtocol }) => nextHopProtocol);
        assert.deepEqual([...new Set(await person.page.evaluate(protocols))], ["h2"]);
        await person.button("Cancel the upload").click();
        await person.says("Canceled. 4 slices were in flight; the store holds nothing of it.");
        const answers = (await person.log()).map(([, , answer]) => answer.replace(/, \d+ ms$/, ""));
        assert.deepEqual(answers.slice(0, 5), ["204", ...Array(4).fill("409 UPLOAD_SESSION_CANCELED")]);
    }));

test("an upload is canceled after a reload, without its file", () =>
    visit({}, async (person) => {
        await person.choose(FILE);
        await person.has(4, "stored");
        const session = await sessionOf(await person.documentPath());
        await person.page.reload();
        await person.says("not finished");
        await person.button("Cancel the upload").click();
        await person.says("Canceled. 0 slices were in flight");
        assert.deepEqual(filesOf(session), []);
        await person.page.reload();
        await person.says("Ready.");
    }));

test("a broken connection pauses the upload", () =>
    visit({}, async (person) => {
        await person.choose(FILE);
        await person.has(4, "stored");
        await person.context.setOffline(true);
        await person.says("A slice failed: Failed to fetch. Resume sends it again.");
        await person.context.setOffline(false);
        await person.setLine(FAST);
        await person.button("Resume").click();
        await person.says("Complete.");
    }));

test("the main path needs only the keyboard, and the focus can be seen", () =>
    visit({}, async (person) => {
        const { keyboard } = person.page;
        const tabTo = async (name) => {
            for (let presses = 0; presses < 20; presses += 1) {
                await keyboard.press("Tab");
                const focused = await person.page.evaluate(() => {
                    const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
                    const label = document.activeElement.labels?.[0] ?? document.activeElement;
                    return { text: label.textContent, outline: `${outlineStyle} ${outlineWidth}` };
                });
                assert.equal(focused.outline, "solid 3px", focused.text);
                if (focused.text === name) return;
            }
            assert.fail(`Tab does not reach ${name}`);
        };
        await tabTo("Drop a file here, or choose one:");
        await tabTo("Upload a sample of 16 MiB");
        await keyboard.press("Enter");
        await person.has(4, "stored");
        await tabTo("Pause");
        await keyboard.press("Space");
        await person.says("Paused.");
        await keyboard.press("Space");
        await person.says("Resumed.");
        await tabTo("Cancel the upload");
        await keyboard.press("Enter");
        await person.says("Canceled.");
        const heading = await person.page.evaluate(() => document.activeElement.textContent);
        assert.equal(heading, "What happened", "the focus is where there is something new to read");
    }));

for (const colorScheme of ["light", "dark"]) {
    test(`axe finds nothing on the page, at 320 pixels, ${colorScheme}`, () =>
        visit({ colorScheme, reducedMotion: "reduce", viewport: { width: 320, height: 640 } }, async (person) => {
            await assertAccessible(person.page);
            await person.choose(FILE);
            await person.has(4, "stored");
            await assertAccessible(person.page);
            await person.button("Let another user try").click();
            await person.says("Another user tried");
            await person.button("Cancel the upload").click();
            await person.says("Canceled.");
            await assertAccessible(person.page);
            const cell = person.page.locator("#map span").first();
            const duration = await cell.evaluate((element) => getComputedStyle(element).transitionDuration);
            assert.equal(duration, "0s", "nothing moves");
        }));
}

async function assertAccessible(page) {
    await page.evaluate(`${AXE}; 0`);
    const { violations, passes } = await page.evaluate(() => globalThis.axe.run());
    const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
    assert.deepEqual(found, []);
    assert.ok(passes.some(({ id }) => id === "color-contrast"));
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= 320, `${width} pixels wide`);
}

test("no other site gets the tokens, whatever its name leads to", async () => {
    const elsewhere = createServer((_, response) => {
        response.setHeader("content-type", "text/html");
        response.end("<p>hello</p>");
    });
    await new Promise((resolve) => elsewhere.listen(0, "127.0.0.1", resolve));
    const { port } = elsewhere.address();
    // The same machine under another name, as DNS rebinding makes it.
    const rebinding = await launch("--host-resolver-rules=MAP rebound.example 127.0.0.1");
    try {
        const page = await rebinding.newPage();
        const ask = (url) => page.evaluate((tokens) => fetch(tokens).then((response) => response.status, String), url);
        const tokens = `${PAGE}dev/tokens.json`;
        for (const own of [PAGE, PAGE.replace("127.0.0.1", "localhost")]) {
            await page.goto(own);
            assert.equal(await ask(`${own}dev/tokens.json`), 200, "the page itself gets them");
        }
        for (const name of ["127.0.0.1", "localhost"]) {
            await page.goto(`http://${name}:${port}/`);
            assert.equal(await ask(tokens), "TypeError: Failed to fetch");
        }
        const rebound = PAGE.replace("127.0.0.1", "rebound.example");
        assert.equal((await page.goto(rebound)).status(), 403);
        assert.equal(await ask(`${rebound}dev/tokens.json`), 403);
    } finally {
        await rebinding.close();
        elsewhere.close();
    }
});
