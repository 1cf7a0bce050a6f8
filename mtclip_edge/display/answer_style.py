"""How the page of answers looks: on a screen of any width, and on A4."""

STYLE = """
main { max-width: 56rem; }
h1 { margin: .3rem 0; } h2 { border-top: 2px solid var(--ink); padding-top: .5rem; }
h3 { margin-top: 1.1rem; }
h4 { font-size: .95rem; margin: 0 0 .3rem; font-weight: 600; }
.notice, .demo { border: 2px solid var(--ink); padding: .3rem .6rem; max-width: none; }
.demo { font-weight: 700; }
.summary { display: flex; gap: 1.2rem; align-items: flex-start; }
.pictures { flex: 0 0 50%; display: grid; gap: .6rem; } .said { flex: 1 1 0; min-width: 0; }
figure { margin: 0; } figure img { display: block; width: 100%; height: auto; background: #000; }
figcaption { font-size: .8rem; color: var(--soft); }
.conclusion { font-size: 1.15rem; line-height: 1.4; font-weight: 600; margin: 0 0 .7rem; }
.said dl { grid-template-columns: 1fr; gap: 0; } .said dt { font-size: .8rem;
  } .said dd { margin-bottom: .5rem; }
.trust { border-left: .35rem solid var(--line); padding-left: .5rem; display: block; }
.trust.confident { border-color: #5b2a86; } .trust.uncertain { border-color: #a98bc4;
  border-left-style: double; }
.trust.abstain { border-color: #5b2a86; border-left-style: dotted; }
.key { color: var(--soft); font-size: .85rem; margin: 0; }
mark { background: #fff3b0; color: inherit; padding: 0 .1em; border-radius: 2px; }
.hit { border-left: 4px solid var(--line); padding: .1rem .8rem; margin: .9rem 0; }
.hit .body { display: flex; gap: 1rem; align-items: flex-start; } .hit .body > div { flex: 1 1 0;
  min-width: 0; }
.own { border: 2px solid var(--ink); padding: 0 .8rem; margin: 1.2rem 0; } .own h3 { margin-top: .6rem; }
.hit figure { flex: 0 0 30%; }
.hit p { white-space: pre-line; max-width: none; }
.hit .told { font-weight: normal; } .hit .id { color: var(--soft); font-size: .75rem; font-weight: normal; }
.hit ul { list-style: none; display: flex; flex-wrap: wrap; gap: .3rem; margin: 0 0 .3rem; padding: 0; }
.finding { border: 1px solid var(--soft); border-radius: 999px; padding: 0 .6rem; font-size: .8rem; }
.contents ol { list-style: none; margin: 0; padding: 0; display: grid; gap: .3rem;
grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); }
.contents a { display: flex; gap: .6rem; color: inherit; text-decoration: none; font-size: .85rem;
  line-height: 1.35; }
.contents a:hover b { text-decoration: underline; }
.contents img { width: 3.5rem; height: 3.5rem; object-fit: contain; background: #000; flex: none; }
.contents span { min-width: 0; }
.contrast { margin: .3rem 0; } .contrast .said { white-space: pre-line; }
.votes th:first-child { white-space: normal; overflow-wrap: anywhere; }
td:not(:first-child) { white-space: normal; }
.made { margin: 2rem 0 1rem; } .made summary { cursor: pointer; color: var(--soft);
  } .made dl { font-size: .85rem; }
@media (max-width: 40rem) {
  .summary, .hit .body { flex-direction: column; } .pictures, .said, .hit figure { flex: none;
  width: 100%; }
  .hit figure { max-width: 16rem; } .hit { padding: .1rem .5rem; } h1 { font-size: 1.25rem; }
  .made dl { grid-template-columns: 1fr; }
}
@page { size: A4; margin: 15mm; }
@media print {
  html { font-size: 9.5pt; } main { max-width: none; padding: 0; } body { font-size: 9.5pt;
  line-height: 1.3; }
  h1 { font-size: 15pt; } h2 { font-size: 12pt; margin-top: 1rem; }
  .hit { margin: .5rem 0; } .hit p { margin: .15rem 0; } th, td { padding: .1rem .5rem; }
  .made dl { font-size: 8pt; } .made summary { list-style: none; }
  details::details-content { content-visibility: visible; height: auto; }
  .summary { flex-direction: row; } .pictures { flex: 0 0 50%; width: auto; }
  .hit .body { flex-direction: row; } .hit figure { flex: 0 0 30%; }
  .answer + .answer, .contents + .answer { break-before: page; }
  .hit, .contrast, .votes, figure, tr, .summary, .notice, li { break-inside: avoid; } h2, h3,
  h4 { break-after: avoid; }
  .hits p { orphans: 3; widows: 3; } mark { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
