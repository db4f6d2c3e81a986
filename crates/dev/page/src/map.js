// The map of a document: a cell for each part, and how much of it all is acknowledged.

import { cellSize, lengthOf, slicesOf } from "./slices.js";

const STATES = ["missing", "sending", "stored", "refused"];

const map = document.getElementById("map");
const progress = document.getElementById("progress");
const progressText = document.getElementById("progress-text");

export function bytes(count) {
    const mebibytes = count / (1024 * 1024);
    return mebibytes >= 1 ? `${mebibytes.toFixed(1)} MiB` : `${count.toLocaleString("en")} bytes`;
}

export class DocumentMap {
    constructor(size, missing) {
        this.size = size;
        /** How many bytes of each cell are missing. */
        this.missing = Array(Math.ceil(size / cellSize(size))).fill(0);
        for (const slice of slicesOf(missing, size)) this.missing[slice.cell] += lengthOf(slice);
        this.cells = this.missing.map(() => document.createElement("span"));
        map.replaceChildren(...this.cells);
        this.missing.forEach((_, cell) => this.setState(cell, this.stateOf(cell)));
        this.show();
    }

    /** A slice is being sent, was stored or was refused. */
    change(slice, state) {
        if (state === "stored") this.missing[slice.cell] -= lengthOf(slice);
        this.setState(slice.cell, state === "stored" ? this.stateOf(slice.cell) : state);
        this.show();
    }

    /** How many bytes are acknowledged. */
    get stored() {
        return this.size - this.missing.reduce((sum, count) => sum + count, 0);
    }

    stateOf(cell) {
        return this.missing[cell] === 0 ? "stored" : "missing";
    }

    setState(cell, state) {
        this.cells[cell].className = state;
    }

    show() {
        const share = Math.floor((100 * this.stored) / this.size);
        progress.value = share;
        progressText.textContent = `${bytes(this.stored)} of ${bytes(this.size)} acknowledged (${share} %)`;
        const count = (state) => this.cells.filter((cell) => cell.className === state).length;
        const counts = STATES.map((state) => `${count(state)} ${state}`).join(", ");
        map.setAttribute("aria-label", `Map of the document, ${this.cells.length} parts: ${counts}.`);
    }
}
