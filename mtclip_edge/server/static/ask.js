// Talks to the server that gave this page, with the token that stood in the address.

const KEEP = "mtclip-token";
const found = new URLSearchParams(location.hash.slice(1)).get("token");
if (found) sessionStorage.setItem(KEEP, found);
history.replaceState(null, "", location.pathname);
const token = sessionStorage.getItem(KEEP) ?? "";

export class Failed extends Error {
  constructor(status, lines) { super(lines[0]); this.status = status; this.lines = lines; }
}

async function reply(path, init = {}) {
  let answer;
  try {
    answer = await fetch(path, {...init, headers: {authorization: `Bearer ${token}`, ...init.headers}});
  } catch {
    throw new Failed(0, ["The server does not answer.", "Was mtclip view ended? Start it again and open its new address."]);
  }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  throw new Failed(answer.status, [said.error ?? `The server answered ${answer.status}.`, said.detail, said.hint].filter(Boolean));
}

const words = given => {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(given)) if (value !== "" && value != null) query.append(name, value);
  return query;
};

export const about = async () => (await reply("/api/about")).json();
export const query = async (file, filters) =>
  (await reply(`/api/query?${words({...filters, name: encodeURIComponent(file.name)})}`, {method: "POST", body: file})).json();
export const search = async asked =>
  (await reply("/api/search", {method: "POST", body: JSON.stringify(asked), headers: {"content-type": "application/json"}})).json();
export const heat = async (key, asked) => (await reply(`/api/heat/${key}?${words(asked)}`)).json();
export const report = async id => (await reply(`/api/report/${encodeURIComponent(id)}`)).json();
export async function preview(id, asked) {
  const answer = await reply(`/api/preview/${encodeURIComponent(id)}?${words(asked)}`);
  return answer.status === 204 ? null : answer.blob();
}
export const page = async key => (await reply(`/api/page/${key}`)).blob();
export const mark = async told =>
  (await reply("/api/marks", {method: "POST", body: JSON.stringify(told), headers: {"content-type": "application/json"}})).json();
export const marks = async format => (await reply(`/api/marks?format=${format}`)).blob();

export async function pixels(key, stored = false) {
  const answer = await reply(`/api/film/${key}${stored ? "?values=stored" : ""}`);
  if (answer.status === 204) return null;
  const [rows, columns] = ["x-rows", "x-columns"].map(name => Number(answer.headers.get(name)));
  const data = await answer.arrayBuffer();
  if (!stored) return {rows, columns, values: new Uint8Array(data)};
  return {rows, columns, values: new Uint16Array(data), facts: JSON.parse(answer.headers.get("x-values"))};
}
