// What the gate found, in words for whoever was never told how such a test goes; its own words and figures are a click away.

import { html, number, percent } from "./parts.js";

// Why it was decided so, in the order in which the gate decides; "other" where the figures do not say.
export function why({ passed, figures: { own, general, grown, ...told } }) {
  if (passed) return own ? "passed" : "other";
  if (told.not_yet) return "not_yet";
  const gain = (grown ?? own)?.improvement;
  if (!gain) return "other";
  if (gain.low <= 0) return "no_gain";
  const old = grown?.old_change;
  if (grown && grown.old_gain !== null && (!old || -old.low > told.old_tolerance)) return "old";
  if (-general.change.low > told.general_tolerance) return "general";
  return told.given_away ? "repeats" : "other";
}

function tested({ cross_validated }) {
  return cross_validated
    ? `Your text is short, so it was cut into ${cross_validated.blocks} parts, and each was read by a trial that had learned from the other parts alone.`
    : "It was tested on a piece of your text that it never learned from.";
}

function compared({ own, grown }) {
  const { estimate, low, high } = (grown ?? own).improvement;
  const than = grown ? "the release that you had" : "without what it learned from you";
  const range = `somewhere between ${percent(low)} and ${percent(high)}, as far as so much text can tell`;
  const guessed = "Word by word it had to guess what you would write next, and was left with";
  if (low > 0) return `${guessed} ${percent(estimate)} fewer possibilities than ${than} (${range}).`;
  if (high < 0) return `${guessed} ${percent(-estimate)} more possibilities than ${than}: it foresees you worse.`;
  return `${guessed} about as many possibilities as ${than}: what difference there is (${percent(low)} to ${percent(high)} fewer) may be chance.`;
}

function price({ general }) {
  if (!general || general.change.high >= 0) return "";
  return `Texts that are not yours it foresees a little worse than before, by ${percent(-general.change.estimate)}.`;
}

const REASONS = {
  passed: () => ["That is enough to be no accident, so it answers you.", ""],
  not_yet: ({ cross_validated, not_yet }) => [
    `With ${number.format(cross_validated.characters)} characters nobody can say yet whether it helps.`,
    `Give more of your text: some ${number.format(not_yet.characters)} characters in all would probably tell.`,
  ],
  no_gain: () => [
    "It did not show that it helps you.",
    "Give more of your text, and such as you wrote yourself: quotations, forms and lists teach it little.",
  ],
  old: ({ grown }) => [
    grown.old_change
      ? `Of your earlier text it may have forgotten too much: that could be foreseen ${percent(-grown.old_change.low)} worse.`
      : "What it would forget of your earlier text cannot be told from this one, which is of another kind.",
    "Train once on all of your text together, and leave “It is new” unchecked.",
  ],
  general: ({ general, general_tolerance }) => [
    `It would have become worse at everything else: texts that are not yours may be foreseen ${percent(-general.change.low)} worse, and ${percent(general_tolerance)} is allowed.`,
    "Give more text, of different kinds, and leave out what is not language, such as tables or code.",
  ],
  repeats: ({ given_away }) => [
    `${percent(given_away.validation)} of what it was tested on stands in the rest of your text, too: it may only have remembered that.`,
    "Leave out what is there more than once (copies, templates, quoted mails), and train again.",
  ],
};

function Figures({ gate: { reason, figures } }) {
  const rows = [
    ["Your text", figures.own, figures.own?.improvement],
    ["General text", figures.general, figures.general?.change],
    ["Your text, beside the release before", figures.grown && { base: figures.grown.before, adapter: figures.own.adapter }, figures.grown?.improvement],
  ].filter(([, losses]) => losses);
  return html`<details>
    <summary>Exact figures</summary>
    <p dir="auto">${reason}</p>
    ${rows.length > 0 && html`<ul>
      ${rows.map(([what, { base, adapter }, change]) => html`<li>${what}: perplexity ${base.toFixed(3)} without, ${adapter.toFixed(3)} with;
        better by ${percent(change.estimate)} (${percent(change.confidence)} interval ${percent(change.low)} to ${percent(change.high)})</li>`)}
    </ul>`}
  </details>`;
}

export function Gate({ gate }) {
  const { figures } = gate;
  const because = why(gate);
  const tag = html`<span class="tag ${gate.passed ? "good" : "bad"}">${gate.passed ? "passed" : "held back"}</span>`;
  if (because === "other") {
    return html`<p>${tag} <span dir="auto">${gate.reason.replace(/^(passed|held back): /, "")}</span></p>${!gate.passed && html`<${Meaning} />`}`;
  }
  const [reason, todo] = REASONS[because](figures);
  return html`
    <p>${tag} ${tested(figures)} ${compared(figures)} ${reason} ${gate.passed && price(figures)}</p>
    ${!gate.passed && html`<${Meaning} todo=${todo} />`}
    <${Figures} gate=${gate} />`;
}

function Meaning({ todo }) {
  return html`<p>Held back means that it is kept and does not answer you: you have what you had before.${todo && html` <strong>What you can do:</strong> ${todo}`}</p>`;
}
