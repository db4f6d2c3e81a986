// @tus/server with its file store, for `print-upload-dev bench`. Arguments: the port, and the folder for the files.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

// The packages are in the folder that this program runs in, not beside this file.
const require = createRequire(pathToFileURL(`${process.cwd()}/`));
const { Server } = await import(pathToFileURL(require.resolve("@tus/server")));
const { FileStore } = await import(pathToFileURL(require.resolve("@tus/file-store")));

const [port, directory] = process.argv.slice(2);
const server = new Server({ path: "/files", datastore: new FileStore({ directory }) });
server.listen({ host: "127.0.0.1", port: Number(port) });
