// The page: films in, answers out, keys and panes between.

import * as server from "./ask.js";
import {failed, make, show} from "./answer.js";
import {Filters} from "./filters.js";
import {lay, scale} from "./heat.js";
import {Pane, View, picture, quantiles} from "./film.js";

const $ = id => document.getElementById(id);
const view = new View(), film = new Pane($("pane-film"), view), prior = new Pane($("pane-prior"), view);
const PRESETS = {"as first seen": null, "whole range": [0, 1], "lungs": [.02, .6], "mediastinum and bones": [.35, .998]};
let facts = null, filters = null, now = null, asked = [], opened = null, mapped = null, turn = 0;

const say = words => { $("status").textContent = words; };
const reports = () => now?.answer.hits.filter(hit => hit.kind === "report") ?? [];

async function guarded(work) {
  // What fails is said where answers stand; the page stays as usable as it was.
  try { return await work(); } catch (error) {
    if (!(error instanceof server.Failed)) { say("Something went wrong in this page."); throw error; }
    say(error.message);
    return error;
  }
}

async function drop(files) {
  const list = [...files];
  for (const [place, file] of list.entries()) {
    say(`Reading ${file.name}${list.length > 1 ? ` (${place + 1} of ${list.length})` : ""} …`);
    const given = filters?.given() ?? {}, started = performance.now();
    const answer = await guarded(() => server.query(file, given));
    if (answer instanceof server.Failed) { asked.push({name: file.name, error: answer}); strip(); await choose(asked.length - 1); continue; }
    const many = answer.answers ?? [answer];
    const first = asked.length;
    for (const one of many)
      asked.push(one.error ? {name: one.image ?? file.name, error: {message: one.error, lines: [one.error, one.detail, one.hint].filter(Boolean)}}
        : {name: one.words.name, answer: one, text: "", took: performance.now() - started, began: started});
    strip();
    await choose(first);
    if (answer.left_out) say(`The first ${many.length} films of ${file.name} were asked, ${answer.left_out} were not.`);
  }
}

async function choose(place) {
  const one = asked[place], mine = ++turn;
  now = null; unmap(); close();
  for (const item of $("strip").querySelectorAll("button")) item.setAttribute("aria-pressed", item.dataset.place === String(place));
  if (one.error) { blank(one); failed($("answer"), one.error); return; }
  now = one;
  answered();
  if (!one.answer.key) { blank(one); return; }
  await guarded(async () => {
    one.film ??= await server.pixels(one.answer.key);
    if (mine !== turn) return;
    view.reset(); film.show(one.film);
    label();
    if (one.began) requestAnimationFrame(() => requestAnimationFrame(() => {
      document.documentElement.dataset.took = Math.round(performance.now() - one.began);
      delete one.began;
    }));
    say(one.took ? `${one.name}: answered in ${(one.took / 1000).toFixed(1)} s` : one.name);
    await deeper(one, mine);
  });
}

async function deeper(one, mine) {
  // What the file stores behind the 8 bits, where there is more: quietly, once.
  if (one.film.facts || one.shallow) return;
  const stored = await server.pixels(one.answer.key, true);
  if (!stored) { one.shallow = true; return; }
  one.film = stored;
  if (mine === turn) film.show(stored);
}

function blank(one) {
  film.clear();
  $("pane-film").setAttribute("aria-label", one.error ? `No film: ${one.error.message}` : "No film: a text was asked");
  label();
}

function answered() {
  const {answer} = now, least = filters?.least, shown = {...answer, hits: answer.hits, words: answer.words};
  if (least != null && answer.hits.every(hit => hit.percentile == null)) say("This answer tells no percentiles: none was left out.");
  else if (least != null) {
    const keep = answer.hits.map(hit => hit.percentile == null || hit.percentile >= least);
    shown.words = {...answer.words, hits: answer.words.hits.filter((_, place) => keep[place])};
    shown.hits = answer.hits.filter((_, place) => keep[place]);
  }
  show($("answer"), shown, {open, again, film: facts.previews ? small : null, heat: facts.maps && answer.key ? map : null, mark: facts.marks && answer.key ? mark : null});
  if (answer.key) tools();
  $("both").disabled = !answer.key;
}

function tools() {
  const row = make("p", null, $("answer"), "acts");
  for (const [word, act] of [["Print", () => print()], ["Save as a page", save]]) {
    const button = make("button", word, row);
    button.type = "button"; button.addEventListener("click", act);
  }
  if (facts.marks) for (const format of ["json", "csv"]) {
    const button = make("button", `Marks as ${format.toUpperCase()}`, row);
    button.type = "button"; button.addEventListener("click", () => guarded(async () => download(await server.marks(format), `marks.${format}`)));
  }
}

function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob); link.download = name; link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

async function small(hit, own = null) {
  // None is no error: a report may have no film.
  try { return await server.preview(hit.report_id, own ? {study: own} : now?.answer.key ? {key: now.answer.key} : {}); }
  catch (error) { if (!(error instanceof server.Failed)) throw error; return null; }
}

const save = () => guarded(async () => download(await server.page(now.answer.key), "answer.html"));

async function mark(target, kind, note) {
  const done = await guarded(() => server.mark({key: now.answer.key, report_id: target, mark: kind, note}));
  return done instanceof server.Failed ? done.message : `kept: ${{useful: "useful", not: "not useful", note: "note"}[kind]}`;
}

function strip() {
  const list = $("strip");
  list.hidden = asked.length < 2;
  list.replaceChildren();
  asked.forEach((one, place) => {
    const button = make("button", null, make("li", null, list));
    button.type = "button"; button.dataset.place = place;
    const word = one.error ? "not read" : one.answer.input?.verdict === "reject" ? "rejected" : one.answer.abnormal?.call ?? (one.answer.key ? "answered" : "text");
    make("span", one.name, button); make("span", word, button, `chip ${word}`);
    button.addEventListener("click", () => choose(place));
  });
}

function label() {
  const [caption] = $("pane-film").getElementsByTagName("figcaption");
  caption.textContent = now && film.film ? now.name : "";
  if (film.film) $("pane-film").setAttribute("aria-label", `The film ${now.name}`);
}

async function again(more = {}) {
  // The same film by other filters, or turned, or the text that was asked.
  if (!now) return;
  const one = now, given = filters.given(), mine = turn;
  const question = {...given, ...more, ...(one.answer.key ? {key: one.answer.key} : {}), ...(one.text ? {text: one.text} : {}), ...(given.k ? {k: Number(given.k)} : {})};
  say("Searching …");
  const answer = await guarded(() => server.search(question));
  if (mine !== turn) return;
  if (answer instanceof server.Failed) { failed($("answer"), answer); return; }
  say(`${answer.hits.length} found`);
  one.answer = answer; unmap(); close(); answered(); strip();
  if (more.invert) { one.film = await server.pixels(answer.key); one.shallow = true; if (mine === turn) film.show(one.film); }
}

async function typed(event) {
  event.preventDefault();
  const words = $("text").value.trim(), together = $("both").checked && now?.answer.key;
  if (together) { now.text = words; await again(); return; }
  if (!words) return;
  const given = filters?.given() ?? {};
  say("Searching …");
  const answer = await guarded(() => server.search({...given, text: words, ...(given.k ? {k: Number(given.k)} : {})}));
  if (answer instanceof server.Failed) { failed($("answer"), answer); return; }
  asked.push({name: words, answer, text: words});
  strip();
  await choose(asked.length - 1);
  say(`${answer.hits.length} found`);
}

async function open(rank, hit = reports().find(one => one.rank === rank), own = null) {
  if (!hit) return;
  opened = hit.rank;
  for (const article of $("answer").querySelectorAll("article.hit")) article.classList.toggle("open", Number(article.dataset.rank) === hit.rank && article.dataset.report === hit.report_id);
  $("answer").querySelector("article.open")?.scrollIntoView({block: "nearest"});
  const pane = $("pane-prior"), [caption] = pane.getElementsByTagName("figcaption");
  pane.hidden = false; $("away").hidden = false; $("panes").classList.add("two");
  caption.replaceChildren();
  make("span", hit.label, caption, `chip ${hit.label}`);
  make("b", ` ${own ? "This patient's own" : "Another patient's"}: study ${hit.study_ids[0] ?? ""}${hit.date ? `, ${hit.date}` : ""}. `, caption);
  make("span", hit.impression || hit.text, caption);
  prior.clear();
  pane.setAttribute("aria-label", `Prior film of report ${hit.rank}`);
  if (!facts.previews) { make("em", " This bundle was made without prior films (export --previews).", caption); return; }
  const found = await guarded(async () => pictured(await server.preview(hit.report_id, own ? {study: own} : now.answer.key ? {key: now.answer.key} : {})));
  if (opened !== hit.rank) return;
  if (!found) make("em", " No film of this report is packed.", caption);
  else if (found instanceof server.Failed) make("em", ` ${found.message}`, caption); else prior.show(found);
}

const pictured = blob => blob && picture(blob);

function close() {
  opened = null;
  $("pane-prior").hidden = true; $("away").hidden = true; $("panes").classList.remove("two");
  prior.clear();
  for (const article of $("answer").querySelectorAll("article.open")) article.classList.remove("open");
}

async function map(rank) {
  if (!now?.answer.key || !film.film) return;
  const asking = now.text && rank == null ? {text: now.text} : {rank: rank ?? opened ?? reports().find(hit => hit.label !== "normal")?.rank ?? 1};
  const found = await guarded(() => server.heat(now.answer.key, asking));
  if (found instanceof server.Failed) { unmap(); return; }
  mapped = asking;
  lay(film.over, found, film.film.rows, film.film.columns);
  film.over.hidden = false; view.move();
  scale($("bar"), found);
  $("bar").hidden = false; $("heat").setAttribute("aria-pressed", "true");
  say(`Heat map: ${found.legend[0]}`);
}

function unmap() { mapped = null; film.over.hidden = true; $("bar").hidden = true; $("heat").setAttribute("aria-pressed", "false"); }
const switched = () => mapped ? unmap() : map(null);

function toggle(id, on) { $(id).setAttribute("aria-pressed", String(on)); }
function invert() { view.inverted = !view.inverted; toggle("invert", view.inverted); view.draw(); }
function pan() { view.panning = !view.panning; toggle("pan", view.panning); }
function reset() { view.reset(); view.move(); toggle("invert", false); $("presets").selectedIndex = 0; }

function preset() {
  const shares = PRESETS[$("presets").value];
  if (!film.film) return;
  if (!shares) { view.window(0, 255); return; }
  view.window(...quantiles(film.film, shares));
}

function step(by) {
  const ranks = reports().map(hit => hit.rank), place = ranks.indexOf(opened);
  open(ranks[Math.min(ranks.length - 1, Math.max(0, place < 0 ? 0 : place + by))]);
}

const KEYS = {h: switched, i: invert, p: pan, r: reset, b: close, "+": () => view.scale(1.25), "=": () => view.scale(1.25), "-": () => view.scale(.8),
  ArrowDown: () => step(1), ArrowUp: () => step(-1), t: () => $("text").focus(), o: () => $("file").click(),
  f: () => { $("filters").open = !$("filters").open; $("filters").querySelector("select, input")?.focus(); }, "?": help};

function help() { const list = $("keys"); if (list.open) list.close(); else list.showModal(); $("help").setAttribute("aria-expanded", String(list.open)); }

addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea") || $("keys").open) return;
  const act = /^[1-9]$/.test(event.key) ? () => open(Number(event.key)) : KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

const pane = $("pane-film");
for (const name of ["dragover", "dragleave", "drop"]) addEventListener(name, event => {
  event.preventDefault();
  pane.classList.toggle("over", name === "dragover");
  if (name === "drop" && event.dataTransfer.files.length) drop(event.dataTransfer.files);
});
$("file").addEventListener("change", event => { drop([...event.target.files]); event.target.value = ""; });
for (const [id, act] of [["choose", () => $("file").click()], ["invert", invert], ["pan", pan], ["out", () => view.scale(.8)], ["in", () => view.scale(1.25)],
  ["reset", reset], ["heat", switched], ["away", close], ["help", help]]) $(id).addEventListener("click", act);
$("keys").addEventListener("close", () => $("help").setAttribute("aria-expanded", "false"));
$("presets").addEventListener("change", preset);
$("words").addEventListener("submit", typed);
$("theme").addEventListener("click", () => {
  const light = document.documentElement.classList.toggle("light");
  toggle("theme", light); $("theme").textContent = light ? "Dark" : "Light";
});
for (const name of Object.keys(PRESETS)) make("option", name, $("presets")).value = name;
view.changed = () => {
  $("readout").textContent = film.film ? `window ${Math.round(view.high - view.low)}, level ${Math.round((view.high + view.low) / 2)}, zoom ${view.zoom.toFixed(1)}` : "";
};

const told = await guarded(server.about);
if (told instanceof server.Failed) failed($("answer"), told);
else {
  facts = told;
  $("about").textContent = `${facts.reports} reports of ${facts.studies} studies`;
  $("demo").hidden = !facts.demo;
  $("heat").hidden = !facts.maps;
  filters = new Filters($("filter-form"), $("active"), facts, () => again());
  say(facts.notes[0] ?? "Ready: drop a film, or ask in words.");
  document.documentElement.dataset.ready = "yes";
}
