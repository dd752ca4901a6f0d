"""The style sheet of the page. Every colour, those of charts too, is a variable; dark mode redefines them."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #fbfaf8; --card: #ffffff; --ink: #1f2328; --soft: #5b626b; --edge: #e2e0da; --code: #f3f1ec;
  --c1: #2f6b9a; --c2: #c77a17; --c3: #5f9e7c; --c4: #8f6bab; --c5: #9a9a94;
  --t1: #b4532a; --t2: #e3b48f; --t3: #d9d6cf; --t4: #9fc2dc; --t5: #2f6b9a;
  --good: #2c7a4b; --bad: #b3372f; --band: #2f6b9a26;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #16181b; --card: #1e2125; --ink: #e6e4df; --soft: #a5abb3; --edge: #34383e; --code: #262a2f;
    --c1: #6aa9d8; --c2: #e0a353; --c3: #7fbf9b; --c4: #b394cf; --c5: #85858a;
    --t1: #d9764a; --t2: #8f5f45; --t3: #55585d; --t4: #4a7694; --t5: #6aa9d8;
    --good: #74c493; --bad: #f08a80; --band: #6aa9d833;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 1000px; margin: 0 auto; padding: 32px 16px 64px; overflow-wrap: anywhere; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 8px; font-weight: 650; }
h2 { font-size: 1.3rem; margin: 56px 0 12px; font-weight: 650; }
h3 { font-size: 1rem; margin: 0; font-weight: 600; }
p { margin: 0 0 12px; max-width: 70ch; }
.eyebrow, .note, figcaption span, .tiles dt, .tiles dd, .caption, footer { color: var(--soft); font-size: .875rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 24px 0; }
.tiles div { background: var(--card); border: 1px solid var(--edge); border-radius: 10px; padding: 14px 16px; }
.tiles dd { margin: 0; }
.tiles .value { color: var(--ink); font-size: 1.75rem; font-weight: 650; line-height: 1.3; white-space: nowrap; }
.figures { display: grid; gap: 16px; margin: 0 0 16px; }
.figures { grid-template-columns: repeat(auto-fill, minmax(min(100%, 400px), 1fr)); }
figure { margin: 0; background: var(--card); border: 1px solid var(--edge); border-radius: 10px; padding: 14px 14px 12px;
  min-width: 0; display: grid; grid-row: span 3; grid-template-rows: subgrid; row-gap: 0; }
figcaption { margin-bottom: 8px; }
figcaption span { display: block; }
figure > svg { width: 100%; height: auto; overflow: visible; }
svg text { fill: var(--soft); font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; font-variant-numeric: tabular-nums; }
.grid { stroke: var(--edge); stroke-width: 1; }
.line { fill: none; stroke-width: 1.5; stroke-linejoin: round; }
.s1 { stroke: var(--c1); } .s2 { stroke: var(--c2); } .s3 { stroke: var(--c3); } .s4 { stroke: var(--c4); }
.line.s1 { stroke-width: 2.5; } .line.s2 { stroke-dasharray: 6 3; } .line.s3 { stroke-dasharray: 2 3; }
.line.s4 { stroke-dasharray: 8 3 2 3; }
.dot { fill: var(--card); stroke-width: 1.5; }
.dot:hover { fill: currentColor; }
.mark { stroke: var(--soft); stroke-width: 1.5; stroke-dasharray: 5 4; }
.band { fill: var(--band); }
.c1 { fill: var(--c1); } .c2 { fill: var(--c2); } .c3 { fill: var(--c3); } .c4 { fill: var(--c4); } .c5 { fill: var(--c5); }
.t1 { fill: var(--t1); } .t2 { fill: var(--t2); } .t3 { fill: var(--t3); } .t4 { fill: var(--t4); } .t5 { fill: var(--t5); }
.k1 { fill: var(--c1); } .k2 { fill: var(--bad); } .k3 { fill: var(--c2); }
figure rect { stroke: var(--card); stroke-width: .5; }
rect:hover { opacity: .8; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 2px 16px; margin: 6px 0 0; padding: 0; }
.legend { font-size: .8125rem; color: var(--soft); }
.legend li { display: flex; align-items: center; gap: 6px; }
.swatch { width: 20px; height: 12px; flex: none; }
.bar { width: clamp(48px, 12vw, 120px); height: 8px; display: block; border-radius: 4px; }
.full { fill: var(--edge); }
.card { background: var(--card); border: 1px solid var(--edge); border-radius: 10px; margin: 0 0 16px; padding: 10px 14px 8px; }
.caption { margin: 0 0 2px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; overflow-wrap: normal; }
th, td { text-align: left; padding: 5px 14px 5px 0; border-top: 1px solid var(--edge); vertical-align: middle; }
td:last-child, th:last-child { padding-right: 0; }
thead th { border-top: 0; color: var(--soft); font-weight: 500; white-space: nowrap; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td:first-child { min-width: 6.5rem; unicode-bidi: isolate; }
code { font: .8125rem ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
pre { background: var(--code); border: 1px solid var(--edge); border-radius: 10px; padding: 14px; margin: 0 0 16px; }
pre { white-space: pre-wrap; }
details { margin: 0 0 16px; }
summary { cursor: pointer; padding: 6px 0; font-weight: 500; }
details h3 { margin-top: 12px; }
.reasons { margin: 4px 0; padding-left: 20px; font-size: .875rem; }
.reasons b { font-weight: 500; color: var(--soft); unicode-bidi: isolate; }
.samples { list-style: none; margin: 0; padding: 0; }
.samples { display: grid; grid-template-columns: repeat(auto-fill, minmax(92px, 1fr)); gap: 10px; }
.samples li { background: var(--card); border: 1px solid var(--edge); border-radius: 10px; padding: 8px; }
.samples li { font-size: .8125rem; line-height: 1.35; }
.samples img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain; margin-bottom: 6px; }
.samples img { image-rendering: pixelated; border-radius: 4px; background: #000; }
.samples span { display: block; color: var(--soft); }
.samples b { font-weight: 600; display: block; }
.right b { color: var(--good); } .wrong b { color: var(--bad); }
.status, .problem { border-left: 3px solid var(--c2); padding: 2px 0 2px 12px; margin: 16px 0; }
.problem { border-color: var(--bad); }
footer { margin-top: 56px; border-top: 1px solid var(--edge); padding-top: 12px; }
@media (max-width: 480px) {
  main { padding: 24px 12px 48px; }
  h2 { margin-top: 44px; }
  table { font-size: .8125rem; }
  th, td { padding-right: 8px; }
  td:first-child { min-width: 4.5rem; overflow-wrap: anywhere; }
  svg text { font-size: 14px; }
  .tiles div, figure, .card { padding-left: 10px; padding-right: 10px; }
  .tiles .value { font-size: 1.5rem; }
}
@media print {
  :root { --page: #ffffff; }
  main { max-width: none; padding: 0; }
  h2 { break-after: avoid; margin-top: 32px; }
  .figures { grid-template-columns: 1fr 1fr; }
  figure, .card, .samples li, tr, pre { break-inside: avoid; }
  .wide { overflow: visible; }
}
"""
