// A document for those who have none at hand.

const SIZE = 16 * 1024 * 1024;

/** The same file every time, so that it can be chosen again after a reload. Its bytes do not repeat. */
export function sampleFile() {
    const words = new Uint32Array(SIZE / 4);
    let word = 1;
    for (let index = 0; index < words.length; index += 1) {
        // xorshift32
        word ^= word << 13;
        word ^= word >>> 17;
        word ^= word << 5;
        words[index] = word;
    }
    return new File([words], "sample.bin", { type: "application/octet-stream" });
}
