// Drop files, see what is read of them, train, and hear what the gate says.

import { Problem, Title, html, number, percent, useEffect, useRef, useState, useWork } from "./parts.js";
import { Estimate, Training, follow, isGoing, latest } from "./training.js";
import { zipped } from "./zip.js";

const MOST_NAMES = 12;
const LEAST_SHARE = 0.005;
// What tells by itself what it is; of anything else the name is needed, which an archive keeps.
const ALONE = /\.(md|zip)$/i;

async function body(files) {
  return files.length === 1 && ALONE.test(files[0].name) ? files[0] : zipped(files);
}

function options(choices) {
  return { type: "application/octet-stream", headers: { "X-SharedLLM-Choices": encodeURIComponent(JSON.stringify(choices)) } };
}

function shown(source) {
  return source.replace(/(^|')(-|standard input)\//g, "$1");
}

function Listed({ title, items }) {
  if (!items.length) return null;
  return html`<details><summary>${title}</summary><ul>${items.map((item) => html`<li dir="auto">${item}</li>`)}</ul></details>`;
}

// Documents of several authors of whom nothing says which is meant.
function unknown(found) {
  return found.documents.filter((each) => Object.keys(each.authors).length > 1 && !each.me);
}

function Authors({ found, choices, choose }) {
  const several = found.documents.filter((each) => Object.keys(each.authors).length > 1);
  const names = [...new Set(several.flatMap((each) => Object.keys(each.authors)))].slice(0, MOST_NAMES);
  if (!names.length) return null;
  // Who was found out is not asked about, but shown, and can be put right.
  const me = choices.me.length ? choices.me : [...new Set(several.map((each) => each.me).filter(Boolean))];
  const toggle = (name) => choose({ me: me.includes(name) ? me.filter((each) => each !== name) : [...me, name] });
  return html`<fieldset class="choice">
    <legend>Who of these are you? Only your own words are learned.</legend>
    ${names.map((name) => html`<label key=${name}>
      <input type="checkbox" checked=${me.includes(name)} onChange=${() => toggle(name)} /> <bdi dir="auto">${name}</bdi>
    </label>`)}
  </fieldset>`;
}

function Found({ found }) {
  const kinds = new Map();
  for (const each of found.documents) kinds.set(each.kind, (kinds.get(each.kind) ?? 0) + 1);
  const read = [...kinds].map(([kind, count]) => `${number.format(count)} × ${kind}`).join(", ");
  const told = Object.entries(found.languages?.shares ?? {}).filter(([, share]) => share >= LEAST_SHARE);
  const languages = told.map(([code, share]) => `${code} ${percent(share)}`);
  const details = Object.entries(found.personal_details ?? {}).map(([kind, count]) => `${number.format(count)} × ${kind}`);
  const { split } = found;
  return html`
    <dl class="facts">
      <div><dt>Read</dt><dd>${read || "nothing"}</dd></div>
      <div><dt>Of it your words</dt><dd>${number.format(found.learned)} characters</dd></div>
      ${languages.length > 0 && html`<div><dt>Languages</dt><dd>${languages.join(", ")}</dd></div>`}
      ${found.dates && html`<div><dt>Written</dt><dd>${found.dates.first.slice(0, 10)} to ${found.dates.last.slice(0, 10)}</dd></div>`}
      ${details.length > 0 && html`<div><dt>${found.masked ? "Masked" : "Personal details"}</dt><dd>${details.join(", ")}</dd></div>`}
      ${split && html`<div><dt>Tested</dt><dd>${split.by_parts
        ? "part by part, each by what the other parts teach; then all of it is learned"
        : `by ${number.format(split.validation + split.heldout)} characters of it, which are never trained on`}</dd></div>`}
    </dl>
    ${found.error && !unknown(found).length && html`<${Problem} error=${found.documents.length ? shown(found.error) : "Nothing of it could be read, for the reasons under “Not read”. Give other files."} />`}
    ${found.given_away?.held_back && html`<${Problem} error="${percent(found.given_away.validation)} of what it would be tested by stands in the rest, too, so that the release will be held back: leave out what is there more than once." />`}
    <${Listed} title="Whose words" items=${found.documents.map((each) => `${shown(each.source)}: ${each.me ?? each.kind}${each.why ? ` (${each.why})` : ""}`)} />
    <${Listed} title="Not read (${found.not_read.length})" items=${found.not_read.map((each) => `${shown(each.source)}: ${shown(each.error)}`)} />`;
}

export default function Texts({ session: { me, api } }) {
  const [files, setFiles] = useState([]);
  const [pasted, setPasted] = useState("");
  const [choices, setChoices] = useState({ me: [], learn: "writing", mask: false });
  const [found, setFound] = useState(null);
  const [job, setJob] = useState(null);
  const [over, setOver] = useState(false);
  const [grows, setGrows] = useState(false);
  const work = useWork();
  const following = useRef(true);
  const looks = useRef(0);
  useEffect(() => () => void (following.current = false), []);

  const followed = (job) => follow(api, job, () => following.current, setJob);
  useEffect(() => {
    work.run(async () => {
      const last = await latest(api);
      // Whoever has chosen files meanwhile looks at those.
      if (last && (isGoing(last) || !looks.current)) await followed(last);
    });
  }, []);

  const look = (files, choices) =>
    work.run(async () => {
      const turn = ++looks.current;
      const size = files.reduce((sum, file) => sum + file.size, 0);
      if (size > me.body_bytes) {
        throw new Error(`These are ${number.format(Math.ceil(size / 1e6))} MB, and this server takes ${number.format(Math.floor(me.body_bytes / 1e6))} MB at once. Leave out pictures and the like, or take a part.`);
      }
      const response = await api.send("POST", api.mine("/files/inspect"), { body: await body(files), ...options(choices) });
      const read = await response.json();
      // What was chosen meanwhile is read again, and this is what was chosen before.
      if (turn === looks.current) setFound(read);
    });
  const take = (taken) => {
    const list = [...taken];
    if (!list.length) return;
    setFiles(list);
    setFound(null);
    setJob(null);
    look(list, choices);
  };
  const choose = (change) => {
    const now = { ...choices, ...change };
    setChoices(now);
    if (files.length) look(files, now);
  };
  const drop = (event) => {
    event.preventDefault();
    setOver(false);
    take(event.dataTransfer.files);
  };
  const train = () =>
    work.run(async () => {
      const path = api.mine(`/files/train?add=${grows}`);
      const response = await api.send("POST", path, { body: await body(files), ...options(choices) });
      await followed(await response.json());
    });
  const cancel = () => work.run(async () => setJob(await api.remove(api.mine(`/jobs/${job.id}`))));
  const leave = () => {
    setFiles([]);
    setPasted("");
    setFound(null);
    setJob(null);
  };
  const going = isGoing(job);

  return html`
    <${Title}>Texts<//>
    <p>Drop what you wrote: notes, documents, mail, exports of chats, or a ZIP of all that. It is read, learned from, and kept
      nowhere.</p>
    <div class="drop ${over ? "over" : ""}" onDragOver=${(event) => (event.preventDefault(), setOver(true))}
      onDragLeave=${() => setOver(false)} onDrop=${drop}>
      <label for="files">Drop files here, or choose them</label>
      <input id="files" type="file" multiple disabled=${going} onChange=${(event) => take(event.target.files)} />
      <details>
        <summary>Or paste text</summary>
        <label for="pasted" class="hidden">Your text</label>
        <textarea id="pasted" rows="5" dir="auto" value=${pasted} onInput=${(event) => setPasted(event.target.value)}></textarea>
        <p><button type="button" class="quiet" disabled=${!pasted || going} onClick=${() => take([new File([pasted], "pasted.md")])}>Look at it</button></p>
      </details>
    </div>
    <${Problem} error=${work.error} />
    <p role="status" class=${work.busy && !going ? "" : "hidden"}>${work.busy && !going ? "Reading…" : found ? "Read" : ""}</p>
    ${found && html`<section aria-label="What was read">
      <h2>What was read</h2>
      <${Found} found=${found} />
      <${Authors} found=${found} choices=${choices} choose=${choose} />
      <fieldset class="choice">
        <legend class="hidden">How it is learned</legend>
        <label><input type="checkbox" checked=${choices.mask} onChange=${() => choose({ mask: !choices.mask })} /> Mask mail addresses, numbers and passwords</label>
        <label><input type="checkbox" checked=${grows} onChange=${() => setGrows(!grows)} /> It is new, and comes to what my release learned</label>
      </fieldset>
      ${!found.error && !going && html`<${Estimate} training=${found.training} />`}
      <p class="actions">
        <button type="button" disabled=${work.busy || going || found.error !== null} aria-describedby=${found.training && !going ? "estimate" : undefined} onClick=${train}>Train</button>
        ${!going && html`<button type="button" class="quiet" onClick=${leave}>Not now</button>`}
      </p>
    </section>`}
    ${job && html`<${Training} job=${job} cancel=${cancel} />`}`;
}
