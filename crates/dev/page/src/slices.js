// How a document is cut into slices.

const UNIT = 16 * 1024;
/** Below the service's limit for a range. */
const LARGEST = 8 * 1024 * 1024;
const CELLS = 64;

/** The size of the cells of a document's map: it has about 64. The same document always has the same cells. */
export function cellSize(documentSize) {
    const wanted = Math.ceil(documentSize / CELLS / UNIT) * UNIT;
    return Math.min(Math.max(wanted, UNIT), LARGEST);
}

/** Cuts missing ranges ("0-99", both inclusive) into slices. No slice spans two cells. */
export function slicesOf(missing, documentSize) {
    const size = cellSize(documentSize);
    return missing.flatMap((range) => {
        const [start, end] = range.split("-").map(Number);
        const slices = [];
        for (let first = start; first <= end; ) {
            const cell = Math.floor(first / size);
            const last = Math.min(end, (cell + 1) * size - 1);
            slices.push({ first, last, cell });
            first = last + 1;
        }
        return slices;
    });
}

export function lengthOf({ first, last }) {
    return last - first + 1;
}
