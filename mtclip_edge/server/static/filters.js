// The filters as a form, with what this bundle has to choose from.

import {make} from "./answer.js";

const NAMED = {finding: "Finding", source: "Source", label: "Label", view: "View"};
const TYPED = {since: ["Since", "2020 or 2020-06"], until: ["Until", "2021-12-31"], match: ["Affirms the words", "effusion NOT left"],
  own_priors: ["Own reports of patient or study", "id"], match_any: ["Has the words", "pacemaker"], exclude_patient: ["Without patient", "id"]};

export class Filters {
  constructor(form, active, about, changed) {
    this.form = form; this.active = active; this.least = null;
    const choices = {label: Object.keys(about.labels), view: Object.keys(about.views), source: Object.keys(about.sources), finding: Object.keys(about.findings)};
    for (const [name, word] of Object.entries(NAMED)) {
      const label = make("label", word, form), many = choices[name].length > 40;
      const field = make(many ? "input" : "select", null, label);
      field.name = name;
      if (many) {
        const list = make("datalist", null, form);
        list.id = `all-${name}`; field.setAttribute("list", list.id); field.type = "text"; field.placeholder = "any";
        for (const choice of choices[name]) make("option", null, list).value = choice;
      } else {
        make("option", "any", field).value = "";
        for (const choice of choices[name].filter(Boolean)) make("option", choice, field).value = choice;
      }
    }
    for (const [name, [word, example]] of Object.entries(TYPED)) {
      const field = make("input", null, make("label", word, form));
      field.name = name; field.type = "text"; field.placeholder = example;
    }
    for (const [name, word, from, to, first] of [["least", "Least percentile", 0, 100, ""], ["k", "How many", 1, 100, 5]]) {
      const field = make("input", null, make("label", word, form));
      field.name = name; field.type = "number"; field.min = from; field.max = to; field.value = first;
    }
    const row = make("p", null, form);
    make("button", "Ask again", row);
    const none = make("button", "None", row);
    none.type = "button";
    none.addEventListener("click", () => { form.reset(); this.told(); changed(); });
    form.addEventListener("submit", event => { event.preventDefault(); this.told(); changed(); });
  }
  given() {
    // Names and values as the server has them; the least percentile is looked at here.
    const all = Object.fromEntries([...new FormData(this.form)].map(([name, value]) => [name, value.trim()]).filter(([, value]) => value));
    this.least = "least" in all ? Number(all.least) : null;
    delete all.least;
    return all;
  }
  told() {
    const count = Object.keys(this.given()).filter(name => name !== "k").length + (this.least !== null);
    this.active.textContent = count ? `: ${count} in force` : "";
  }
}
