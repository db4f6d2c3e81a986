// Sends slices, four at once.

import { answerOf, sendSlice, WRITERS } from "./service.js";

export class Transfer {
    /** `onChange(slice, state)` is called with the states `sending`, `stored` and `refused`. */
    constructor(task, file, onChange) {
        this.task = task;
        this.file = file;
        this.onChange = onChange;
        /** For each slice in flight, the promise of its outcome. */
        this.inFlight = new Map();
    }

    /**
     * Sends the slices, until all are stored, until `stop`, or until one fails. Returns the document once it is
     * complete. Throws the error of a slice that failed.
     */
    async run(slices) {
        this.waiting = [...slices];
        this.document = null;
        this.failure = null;
        await Promise.all(Array.from({ length: WRITERS }, () => this.write()));
        if (this.failure && !this.document) throw this.failure;
        return this.document;
    }

    /** Sends no further slice. Those in flight go on. */
    stop() {
        this.waiting = [];
    }

    async write() {
        while (this.waiting.length > 0) {
            const slice = this.waiting.shift();
            const outcome = this.send(slice);
            this.inFlight.set(slice, outcome);
            await outcome;
            this.inFlight.delete(slice);
        }
    }

    /** Never fails: the outcome has what the service answered, and when. */
    async send(slice) {
        this.onChange(slice, "sending");
        try {
            const answer = await sendSlice(this.task, this.file, slice);
            // The slice that completes the document is answered with the document.
            if (answer.id) this.document = answer;
            this.onChange(slice, "stored");
            return { slice, answer: answer.id ? "201" : "202", time: performance.now() };
        } catch (error) {
            this.failure = error;
            this.stop();
            this.onChange(slice, "refused");
            return { slice, answer: answerOf(error), time: performance.now() };
        }
    }
}
