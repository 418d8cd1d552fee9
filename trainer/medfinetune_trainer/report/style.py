"""The page's style: light and dark, on a screen and on paper, with the reader's own fonts. Colours are Okabe and Ito's, told apart by any eye."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --rule: #d0d7de; --paper: #fff; --raised: #f6f8fa; --warn: #9a3412;
  --s0: #0072b2; --s1: #d55e00; --s2: #00794f; --s3: #a8548a; --s4: #8a6d00; --s5: #444c56; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9ba5b0; --rule: #3a424c; --paper: #0f1319; --raised: #191f27; --warn: #ffa657;
  --s0: #56b4e9; --s1: #ff9b54; --s2: #2fc795; --s3: #e6a0cc; --s4: #f0e442; --s5: #c3cbd3; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 66rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; padding-top: 1rem; border-top: 1px solid var(--rule); }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; } details details { margin-left: 1.25rem; }
p { max-width: 46rem; }
.state { margin: .25rem 0 1rem; color: var(--soft); }
.notice { border-left: 4px solid var(--warn); background: var(--raised); padding: .6rem .9rem; margin: 1rem 0; }
.soft, caption, figcaption { color: var(--soft); font-size: .9rem; } table .soft, caption { font-size: 1em; }
.wide, figure { overflow-x: auto; } .wide { margin: .75rem 0; }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; margin: 1.25rem 0; font-size: .9rem; } a { color: var(--s0); }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .35rem; min-width: min(34rem, 80vw); }
th, td { padding: .25rem .7rem .25rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--rule); overflow-wrap: break-word; }
.under { display: block; color: var(--soft); font-size: .85em; }
th { font-weight: 600; overflow-wrap: normal; vertical-align: bottom; } td.n, th.n { text-align: right; } td.n:not(:last-child) { white-space: nowrap; }
td.n:last-child { min-width: 6rem; }
dl { display: grid; grid-template-columns: minmax(9rem, max-content) 1fr; gap: .2rem 1.25rem; margin: .75rem 0; font-size: .95rem; }
dt { color: var(--soft); } dd { margin: 0; }
figure { margin: 1.25rem 0; break-inside: avoid; } figure > svg { width: 100%; min-width: 40rem; max-width: 46rem; height: auto; display: block; }
.beside { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(28rem, 100%), 1fr)); gap: 0 1.5rem; } .beside figure { margin-top: .5rem; }
svg text { fill: var(--soft); font: 12px system-ui, sans-serif; } svg .axis { fill: var(--ink); }
.beside figure > svg { min-width: 28rem; } .beside svg text { font-size: 18px; }
.grid { stroke: var(--rule); stroke-width: 1; } .tick { stroke: var(--soft); stroke-width: 1; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; } .mark { fill: var(--paper); stroke-width: 1.6; }
.s0 { stroke: var(--s0); } .s1 { stroke: var(--s1); } .s2 { stroke: var(--s2); }
.s3 { stroke: var(--s3); } .s4 { stroke: var(--s4); } .s5 { stroke: var(--s5); }
.d1 { stroke-dasharray: 9 4; } .d2 { stroke-dasharray: 2 3; } .d3 { stroke-dasharray: 12 3 2 3; } .d4 { stroke-dasharray: 5 2; } .d5 { stroke-dasharray: 1 5; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.4rem; margin: .3rem 0 0; font-size: .9rem; } .legend span { white-space: nowrap; }
.key { width: 36px; height: 14px; margin-right: .45rem; vertical-align: -2px; } .interval { width: 230px; height: 26px; display: block; }
.base { stroke: var(--s1); fill: var(--paper); stroke-width: 2; } .tuned { stroke: var(--s0); fill: var(--s0); stroke-width: 2; }
pre { background: var(--raised); padding: .8rem; overflow-x: auto; font-size: .8rem; } td pre { white-space: pre-wrap; margin: .3rem 0; padding: .5rem; }
summary { cursor: pointer; } code { font-size: .9em; }
@media print { :root { --ink: #000; --soft: #333; --rule: #bbb; --paper: #fff; --raised: #fff; --warn: #9a3412;
  --s0: #0072b2; --s1: #d55e00; --s2: #00794f; --s3: #a8548a; --s4: #8a6d00; --s5: #444c56; }
  :root { font-size: 10pt; } body { max-width: none; padding: 0; } nav { display: none; }
  h2, h3, caption, figcaption { break-after: avoid; } tr { break-inside: avoid; }
  .wide, figure { overflow: visible; } table { font-size: .75rem; } th, td { padding-right: .45rem; } .interval { width: 130px; }
  figure > svg, .beside figure > svg { min-width: 0; } pre { white-space: pre-wrap; } }
"""
