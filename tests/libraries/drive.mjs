// The same as drive.py through the TypeScript SDKs: node drive.mjs PACKAGE COMMAND [ARGUMENT …], run in NODE_TOOLS.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import process from "node:process";

const [name, command, ...args] = process.argv.slice(2);
const { PERSON, ...env } = process.env;
const require = createRequire(`${process.cwd()}/`);
const load = (path) => import(pathToFileURL(require.resolve(`${name}/${path}`)));

const second = name.endsWith("/client"); // the second SDK is a package a side
const { Client } = second ? await import(pathToFileURL(require.resolve(name))) : await load("client/index.js");
const { StdioClientTransport } = await load(second ? "stdio" : "client/stdio.js");
const questions = [];
const answers = PERSON === "answers";
const capabilities = answers ? { elicitation: {} } : {};
const options = { capabilities, ...(second && { versionNegotiation: { mode: "auto" } }) };
const client = new Client({ name: "drive", version: "1" }, options);
if (answers) {
  const asked = second ? "elicitation/create" : (await load("types.js")).ElicitRequestSchema;
  client.setRequestHandler(asked, async ({ params }) => {
    questions.push(params.message);
    return { action: "accept", content: { spend: true } };
  });
}

const transport = new StdioClientTransport({ command, args, env, stderr: "inherit" });
let revision = null;
const start = transport.start.bind(transport);
transport.start = async () => {
  const listen = transport.onmessage;
  transport.onmessage = (message, extra) => {
    revision ??= message.result?.protocolVersion ?? null;
    listen?.(message, extra);
  };
  await start();
};
await client.connect(transport);

const call = async (tool, given) =>
  (await client.callTool({ name: tool, arguments: given })).content.map((block) => block.text ?? "").join("\n");
const tools = (await client.listTools()).tools.map((tool) => tool.name);
const picture = { prompt: "a kite over a hill", model: "z-image" };
let answer = await call("generate_media", picture);
const approval = answer.match(/\bok-[0-9A-Z-]+\b/)?.[0];
if (approval) answer = await call("generate_media", { ...picture, approval });
const job = answer.match(/\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}\b/)?.[0];
if (!job) throw new Error(`no job in: ${answer}`);
const result = await call("wait_for_generation", { id: job });
const resource = JSON.parse((await client.readResource({ uri: `kubeez://jobs/${job}` })).contents[0].text);
const preview = await call("view_media", { output_id: job });
const prompts = (await client.listPrompts()).prompts.length;
const resources = (await client.listResources()).resources.length;
revision = client.getNegotiatedProtocolVersion?.() ?? revision;
const seen = { tools, prompts, resources, questions, approval: Boolean(approval) };
console.log(JSON.stringify({ revision, ...seen, result, resource, preview }));
await client.close();
