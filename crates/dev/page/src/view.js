// What the page shows beside the map.

const element = (id) => document.getElementById(id);

export const controls = {
    drop: element("drop"),
    file: element("file"),
    sample: element("sample"),
    line: element("line"),
    pause: element("pause"),
    cancel: element("cancel"),
    other: element("other"),
};

/** What can be done in each state. In all others nothing can: something is being waited for. */
const USABLE = {
    idle: ["file", "sample"],
    unfinished: ["file", "sample", "cancel", "other"],
    uploading: ["pause", "cancel", "other"],
    pausing: ["cancel", "other"],
    paused: ["pause", "cancel", "other"],
};

/** A message. Screen readers read it out. */
export function announce(text) {
    element("status").textContent = text;
}

export function showName(text) {
    element("name").textContent = text;
}

export function state() {
    return document.body.dataset.state;
}

export function setState(state) {
    document.body.dataset.state = state;
    for (const name of ["file", "sample", "pause", "cancel", "other"]) {
        // Not `disabled`: a button that is would lose the focus, and who uses the keyboard would lose their place.
        controls[name].setAttribute("aria-disabled", `${!canUse(name)}`);
    }
    controls.pause.textContent = state === "paused" ? "Resume" : "Pause";
}

export function canUse(name) {
    return (USABLE[state()] ?? []).includes(name);
}

/** The requests that matter, with their answers. */
export const log = {
    clear() {
        element("log-rows").replaceChildren();
        element("log").hidden = true;
    },

    add(who, request, answer) {
        const row = document.createElement("tr");
        const header = document.createElement("th");
        header.scope = "row";
        const cells = [header, document.createElement("td"), document.createElement("td")];
        [who, request, answer].forEach((text, index) => (cells[index].textContent = text));
        row.append(...cells);
        element("log-rows").append(row);
        element("log").hidden = false;
    },

    /** Moves the focus to the table, for those who do not see that it has changed. */
    focus() {
        element("log-title").focus();
    },
};
