// Writes the page's script as one file, with the licenses of the packages in it.
//
//     node build.mjs FILE

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const [, , file] = process.argv;
const { outputFiles, metafile } = await build({
    entryPoints: ["src/main.js"],
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    charset: "utf8",
    legalComments: "none",
    metafile: true,
    write: false,
});

const packages = new Set();
for (const input of Object.keys(metafile.inputs)) {
    const found = input.match(/node_modules\/((?:@[^/]+\/)?[^/]+)\//);
    if (found) packages.add(found[1]);
}

const licenses = [...packages].sort().map((name) => {
    const folder = `node_modules/${name}`;
    const { version, license } = JSON.parse(readFileSync(`${folder}/package.json`, "utf8"));
    const licenseFile = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
    const text = readFileSync(`${folder}/${licenseFile}`, "utf8").replace(/\r/g, "").trim();
    return `${name} ${version} (${license})\n\n${text}`;
});
const origin = "Written by `make page` from crates/dev/page/src. It contains these packages:";
const head = `/*\n${[origin, ...licenses].join("\n\n")}\n*/\n`;
writeFileSync(file, head + outputFiles[0].text);
