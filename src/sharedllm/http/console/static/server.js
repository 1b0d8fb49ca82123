// How the server does, for an operator: what is wrong and what to do, charts, everybody's trainings, and the audit log.

import { Charts, parsed, sampled } from "./charts.js";
import { Problem, Title, html, number, useState } from "./parts.js";
import { PAGE, Pager, Table, usePages, useWhileSeen, when } from "./tables.js";

const CHART_SECONDS = 3;
const FINDING_SECONDS = 15;
const JOB_SECONDS = 5;
const STATES = ["queued", "running", "done", "held_back", "failed", "cancelled"];

function words(name) {
  return name.replaceAll("_", " ");
}

function Findings({ api }) {
  const [told, set] = useState(null);
  useWhileSeen(() => api.get("/v1/findings").then(set, (error) => set({ error })), FINDING_SECONDS);
  if (!told) return html`<p role="status">Looking…</p>`;
  if (told.error) return html`<${Problem} error=${told.error} />`;
  const { people, findings } = told;
  return html`
    <p>${number.format(people.people)} people, of them ${number.format(people.revoked)} revoked.</p>
    ${!findings.length && html`<p class="note" role="status">Nothing is wrong.</p>`}
    <ul class="findings">
      ${findings.map((each) => html`<li key=${each.code} class=${each.severity === "error" ? "problem" : "note"}>
        <strong>${each.severity === "error" ? "Wrong" : "Soon wrong"}:</strong> ${each.message}. ${each.remedy}
      </li>`)}
    </ul>`;
}

function Live({ api }) {
  const [samples, set] = useState([]);
  const [error, setError] = useState(null);
  useWhileSeen(async () => {
    try {
      const text = await (await api.send("GET", "/metrics")).text();
      set((now) => sampled(now, performance.now(), parsed(text)));
      setError(null);
    } catch (failed) {
      setError(failed);
    }
  }, CHART_SECONDS);
  return html`<${Problem} error=${error} /><${Charts} samples=${samples} />`;
}

function Jobs({ api }) {
  const [state, setState] = useState("");
  const [told, set] = useState({ jobs: [], counts: {} });
  const [shown, show] = useState(0);
  const ask = () =>
    api.get(`/v1/jobs?limit=${PAGE}&skip=${shown}${state && `&state=${state}`}`).then(set, (error) => set({ jobs: [], counts: {}, error }));
  useWhileSeen(ask, JOB_SECONDS, `${state} ${shown}`);
  const counted = STATES.filter((each) => told.counts[each]).map((each) => `${told.counts[each]} ${words(each)}`);
  return html`
    <${Problem} error=${told.error} />
    <p>${counted.length ? counted.join(", ") : "None since the server began."}</p>
    <div class="field"><label for="jobs">Which</label>
      <select id="jobs" value=${state} onChange=${(event) => (setState(event.target.value), show(0))}>
        <option value="">All</option>${STATES.map((each) => html`<option key=${each} value=${each}>${words(each)}</option>`)}
      </select></div>
    <${Table} label="Trainings" columns=${["Who", "State", "Steps", "Why"]}>
      ${told.jobs.map((job) => html`<tr key=${job.id}>
        <th scope="row"><bdi dir="auto">${job.user}</bdi></th>
        <td>${words(job.state)}</td>
        <td>${job.steps.done} <small>of ${job.steps.total}</small></td>
        <td><bdi dir="auto">${job.error ?? job.gate?.reason ?? ""}</bdi></td>
      </tr>`)}
    <//>
    <p class="actions">
      <button type="button" class="quiet" disabled=${!shown} onClick=${() => show(shown - PAGE)}>Newer</button>
      <button type="button" class="quiet" disabled=${!told.more} onClick=${() => show(shown + PAGE)}>Older</button>
    </p>`;
}

function Audit({ api }) {
  const [asked] = useState({});
  const pages = usePages(async (before, signal) => {
    const page = await api.get(`/v1/audit?limit=${PAGE}${before ? `&before=${before}` : ""}`, { signal });
    return { rows: page.entries, next: page.next };
  }, asked);
  if (pages.error) return html`<p><bdi>${pages.error.message}</bdi></p>`;
  return html`
    <${Pager} pages=${pages} what="entries" />
    <${Table} label="Audit log" columns=${["Place", "When", "What", "Release"]}>
      ${pages.rows.map((each) => html`<tr key=${each.place}>
        <th scope="row">${each.place}</th><td>${when(each.at)}</td><td>${words(each.kind)}</td><td>${each.number ?? "–"}</td>
      </tr>`)}
    <//>`;
}

export default function Server({ session: { api } }) {
  return html`
    <${Title}>Server<//>
    <section><h2>What is wrong</h2><${Findings} api=${api} /></section>
    <section><h2>Now</h2><${Live} api=${api} /></section>
    <section><h2>Trainings</h2><${Jobs} api=${api} /></section>
    <section><h2>Audit log</h2><${Audit} api=${api} /></section>`;
}
