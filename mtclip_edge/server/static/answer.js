// An answer as elements. Every word of a report goes in as text, never as HTML.

export function make(tag, words, parent, name) {
  const element = document.createElement(tag);
  if (words != null) element.textContent = words;
  if (name) element.className = name;
  parent?.append(element);
  return element;
}

export function show(box, answer, can) {
  // ``can``: {open(rank), again(more), film(hit, own study) or null, heat(rank) or null, mark(target, kind, note) or null}
  box.replaceChildren();
  const {words} = answer;
  const top = make("section", null, box, `verdict ${answer.abnormal?.call ?? ""} ${answer.input?.verdict ?? ""} ${words.verdict ?? ""}`);
  top.setAttribute("aria-label", "Conclusion");
  make("h2", words.conclusion, top);
  if (words.film) make("p", words.film, top, "film");
  if (words.exchanged || answer.input?.verdict === "reject" && !answer.hits.length) {
    const row = make("p", null, top, "acts");
    if (words.exchanged) act(row, "Exchange black and white", () => can.again({invert: true}));
    act(row, "Answer all the same", () => can.again({force: true}));
  }
  if (words.abnormal) make("p", words.abnormal, top, "call");
  if (words.trust) make("p", words.trust, top, `trust ${words.verdict ?? ""}`);
  if (words.study) make("p", words.study, top);
  if (words.similarity) make("p", `Nearest report: ${words.similarity}`, top);
  if (can.mark && answer.hits.length) marks(top, answer.key, null, can);
  if (words.votes.length) votes(box, answer);
  const reports = answer.hits.filter(hit => hit.kind === "report");
  if (reports.length) {
    const list = make("section", null, box, "hits");
    list.setAttribute("aria-label", "Most similar reports");
    make("h3", "Most similar reports of other patients", list);
    reports.forEach((hit, place) => card(list, hit, words.hits[place], can));
  }
  if (words.own) {
    const list = make("section", null, box, "hits own");
    list.setAttribute("aria-label", words.own.heading);
    make("h3", words.own.heading, list);
    make("p", words.own.said, list);
    answer.own_priors.hits.forEach((hit, place) => card(list, hit, words.own.hits[place], {open: () => can.open(null, hit, hit.study_ids[0]), film: can.film && (one => can.film(one, one.study_ids[0]))}));
  }
  contrast(box, answer, can);
  const films = answer.hits.filter(hit => hit.kind === "film");
  if (films.length) {
    const list = make("section", null, box, "films");
    make("h3", "Most similar films", list);
    const items = make("ol", null, list);
    for (const hit of films) make("li", `${hit.score.toFixed(3)} ${hit.label}, study ${hit.study_id}, ${hit.film}`, items);
  }
  make("p", words.searched, box, "searched");
}

function act(row, word, work) {
  const button = make("button", word, row);
  button.type = "button";
  button.addEventListener("click", work);
}

function votes(box, answer) {
  const section = make("section", null, box, "votes");
  section.setAttribute("aria-label", "What they name");
  make("h3", `What these ${answer.words.hits.length} reports name`, section);
  const table = make("table", null, section), head = make("tr", null, make("thead", null, table)), body = make("tbody", null, table);
  for (const word of ["label or finding", "of these", "of the index"]) make("th", word, head).scope = "col";
  for (const vote of answer.words.votes) {
    const row = make("tr", null, body);
    make("th", vote.name, row).scope = "row";
    make("td", vote.count, row); make("td", vote.in_index, row);
  }
}

function card(list, hit, words, can) {
  const article = make("article", null, list, "hit");
  article.dataset.rank = hit.rank; article.dataset.report = hit.report_id;
  const head = make("h4", null, article);
  if (can.film) thumbnail(article, hit, can);
  make("span", `${hit.rank}`, head, "rank");
  make("span", hit.label, head, `chip ${hit.label}`);
  make("span", [words.similarity, words.percentile].filter(Boolean).join(", "), head, "told");
  const facts = [`study ${words.study}`, hit.date, words.named].filter(Boolean).join(", ");
  make("p", facts, article, "facts");
  if (words.findings.length) { const chips = make("ul", null, article, "findings"); for (const name of words.findings) make("li", name, chips); }
  for (const section of words.sections) said(article, section);
  const row = make("p", null, article, "acts");
  const open = make("button", "Beside the film", row);
  open.type = "button"; open.setAttribute("aria-label", `Show report ${hit.rank} and its film beside the film`);
  open.addEventListener("click", () => can.open(hit.rank));
  if (can.heat && hit.label !== "normal") {
    const map = make("button", "Where", row);
    map.type = "button"; map.setAttribute("aria-label", `Heat map of report ${hit.rank}`);
    map.addEventListener("click", event => { event.stopPropagation(); can.heat(hit.rank); });
  }
  if (can.mark) marks(article, null, hit, can);
  article.addEventListener("click", event => {
    if (!event.target.closest("button, input, a, form") && getSelection().isCollapsed) can.open(hit.rank);
  });
}

async function thumbnail(article, hit, can) {
  // The prior film, small, where the bundle has one; it comes when it comes.
  const blob = await can.film(hit);
  if (!blob) return;
  const image = make("img", null, null, "small");
  image.alt = `Prior film of report ${hit.rank}`;
  image.addEventListener("load", () => URL.revokeObjectURL(image.src), {once: true});
  image.src = URL.createObjectURL(blob);
  article.prepend(image);
}

function said(box, {name, text, marks: places}) {
  const line = make("p", null, box, "said");
  if (name !== "text") make("b", `${name[0].toUpperCase()}${name.slice(1)}: `, line);
  // places count letters as Python does; a letter beyond 65,535 is two of JavaScript's
  const letters = [...text];
  let last = 0;
  for (const [from, to] of places) {
    line.append(letters.slice(last, from).join(""));
    make("mark", letters.slice(from, to).join(""), line);
    last = to;
  }
  line.append(letters.slice(last).join(""));
}

function contrast(box, answer, can) {
  const found = answer.evidence?.contrast;
  if (!found || !(found.abnormal || found.normal)) return;
  const section = make("section", null, box, "contrast");
  section.setAttribute("aria-label", "The nearest of either label");
  make("h3", "The nearest of either label", section);
  if (answer.words.margin) make("p", `Of the whole index, ${answer.words.margin}.`, section);
  for (const hit of [found.abnormal, found.normal]) {
    if (!hit) continue;
    const line = make("p", null, section);
    make("span", hit.label, line, `chip ${hit.label}`);
    line.append(` ${hit.score.toFixed(3)} `);
    make("span", hit.impression || hit.text, line);
    const open = make("button", "Beside the film", line);
    open.type = "button"; open.setAttribute("aria-label", `Show the nearest ${hit.label} report beside the film`);
    open.addEventListener("click", () => can.open(null, hit));
  }
}

function marks(box, key, hit, can) {
  // The reader's own mark, kept on this machine in the file that was named.
  const target = hit ? hit.report_id : null, row = make("p", null, box, "marks");
  const what = hit ? `report ${hit.rank}` : "this answer", state = make("span", null, null, "marked");
  for (const [kind, word] of [["useful", "Useful"], ["not", "Not useful"]]) {
    const button = make("button", word, row);
    button.type = "button"; button.setAttribute("aria-label", `${word}: ${what}`);
    button.addEventListener("click", async event => { event.stopPropagation(); state.textContent = await can.mark(target, kind, null); });
  }
  const note = make("input", null, row), add = make("button", "Note", row);
  note.type = "text"; note.maxLength = 500; note.placeholder = "a note, without names"; note.setAttribute("aria-label", `A note on ${what}; no names`);
  add.type = "button"; add.setAttribute("aria-label", `Keep the note on ${what}`);
  add.addEventListener("click", async event => {
    event.stopPropagation();
    if (note.value.trim()) { state.textContent = await can.mark(target, "note", note.value.trim()); note.value = ""; }
  });
  row.append(state);
}

export function failed(box, error) {
  box.replaceChildren();
  const section = make("section", null, box, "failed");
  section.setAttribute("role", "alert");
  error.lines.forEach((line, place) => make(place ? "p" : "h2", line, section));
}
