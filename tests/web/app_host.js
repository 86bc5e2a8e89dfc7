// A small host of MCP Apps for tests: shows the page in a sandboxed frame of another origin, and answers what it asks.
import { AppBridge, PostMessageTransport } from "@modelcontextprotocol/ext-apps/app-bridge";

globalThis.problems = [];

globalThis.start = async ({ address, capabilities, context, input, result, reads, calls, refuses }) => {
  globalThis.asked = [];
  const frame = document.createElement("iframe");
  frame.sandbox = "allow-scripts";
  const bridge = new AppBridge(null, { name: "host of the tests", version: "1" }, capabilities, { hostContext: context });
  const noted = (method, answer) => (params) => {
    asked.push([method, params]);
    if (refuses.includes(method)) throw new Error(`${method} is refused here`);
    return answer(params);
  };
  bridge.onmessage = noted("ui/message", () => ({}));
  bridge.onopenlink = noted("ui/open-link", () => ({}));
  bridge.oncalltool = noted("tools/call", () => calls.shift() ?? new Promise(() => {}));
  bridge.onreadresource = noted("resources/read", ({ uri }) => {
    const found = Array.isArray(reads[uri]) ? reads[uri].shift() : reads[uri];
    if (!found) throw new Error(`There is no resource ${uri}.`);
    return found;
  });
  bridge.onsizechange = ({ height }) => { frame.style.height = `${height}px`; };
  bridge.onerror = (error) => problems.push(String(error));
  const ready = new Promise((resolve) => { bridge.oninitialized = resolve; });
  document.body.replaceChildren(frame);
  await bridge.connect(new PostMessageTransport(frame.contentWindow, frame.contentWindow));
  frame.src = address;
  await ready;
  await bridge.sendToolInput({ arguments: input });
  if (result) await bridge.sendToolResult(result);
  Object.assign(globalThis, { bridge, frame });
};
