// A training: how long it will take, how far it is, and what came of it, also when somebody comes back to the page.

import { Gate } from "./gate.js";
import { Problem, date, html, minutes, useEffect, useRef } from "./parts.js";

const OFTEN = 1000;

export function isGoing(job) {
  return job !== null && ["queued", "running"].includes(job.state);
}

// Told before it is begun, so that she can leave it.
export function Estimate({ training }) {
  if (!training) return null;
  const { seconds, waits, by_pace } = training;
  return html`<p class="note" id="estimate">
    Training takes ${minutes(seconds)} on this machine, and less where it finds nothing more to learn.
    ${waits >= 1 && ` Others are before you: it begins in ${minutes(waits)}.`}
    ${by_pace ? " That is the pace of the last training here." : " That is reckoned from another machine’s pace, as nothing was trained here since the server began."}
    ${" "}You can use the page meanwhile, and cancel at any time.
  </p>`;
}

export function Training({ job, cancel }) {
  const place = useRef();
  useEffect(() => void (job.past || place.current.scrollIntoView({ block: "nearest" })), [job.id, job.state]);
  return html`<section aria-label=${job.past ? "Last training" : "Training"}>
    <h2>${job.past ? "Your last training" : "Training"}</h2>
    <div ref=${place}><${Stage} job=${job} cancel=${cancel} /></div>
  </section>`;
}

function left({ seconds_left }) {
  return seconds_left === null ? "how long it takes is not known yet" : `${minutes(seconds_left)} left`;
}

function Stage({ job, cancel }) {
  if (job.state === "queued") return html`<p role="status">Waiting for its turn. <button type="button" class="quiet" onClick=${cancel}>Cancel</button></p>`;
  if (job.state === "running") {
    const { done, total } = job.steps;
    // A screen reader is told each tenth, and whoever looks every step.
    const tenth = Math.floor((10 * done) / total) * 10;
    return html`<div>
      <label for="steps">Training: step ${done} of ${total}, ${left(job)}</label>
      <progress id="steps" max=${total} value=${done}></progress>
      <p class="hidden" role="status">${tenth} per cent trained</p>
      ${job.waits && html`<p class="note" role="status">This machine has other work that goes first, such as answering. The training waits for it and goes on by itself.</p>`}
      <p><button type="button" class="quiet" onClick=${cancel}>Cancel</button></p>
    </div>`;
  }
  // Of one that has just ended it is known without asking.
  const answers = job.served === undefined || job.served === job.release;
  return html`<div role="status">
    ${job.at && html`<p class="small">${date.format(new Date(job.at))}</p>`}
    ${job.state === "done" && (answers
      ? html`<p class="note">Release ${job.release} answers from now on. <a href="#/write">Write with it</a>.</p>`
      : html`<p class="note">Release ${job.release} passed and does not answer now. <a href="#/releases">See which does</a>.</p>`)}
    ${job.state === "held_back" && html`<p class="note">Release ${job.release} is stored and does not answer: what you had stays as it is.</p>`}
    ${job.state === "cancelled" && html`<p class="note">Cancelled. The same files go on from where it was.</p>`}
    ${job.state === "failed" && html`<${Problem} error=${job.error} />`}
    ${job.gate && html`<${Gate} gate=${job.gate} />`}
  </div>`;
}

// Calls `tell` with how it stands until it is over, or `going` says that nobody looks any more.
export async function follow(api, job, going, tell) {
  for (tell(job); going() && isGoing(job); tell(job)) {
    await new Promise((resolve) => setTimeout(resolve, OFTEN));
    // A server that cannot be reached for a moment goes on training.
    job = await api.get(api.mine(`/jobs/${job.id}`)).catch((error) => (error.status === 0 ? job : Promise.reject(error)));
  }
}

// Her latest training: one that is under way, or what came of it, which a server that was started anew has as a release.
export async function latest(api) {
  let last = null;
  for (let more = true; more; ) {
    const page = await api.get(api.mine(`/jobs${last ? `?after=${last.id}` : ""}`));
    last = page.jobs.find(isGoing) ?? page.jobs.at(-1) ?? last;
    more = page.more && !isGoing(last);
  }
  if (isGoing(last)) return last;
  const { releases, served } = await releasesOf(api);
  const release = releases.at(-1);
  if (last) return { ...last, past: true, served };
  if (!release) return null;
  const { number, gate, created_at: at } = release;
  return { id: `release ${number}`, state: gate.passed ? "done" : "held_back", release: number, gate, at, past: true, served };
}

// What there is of hers; of a newcomer nothing, which is no error.
export async function releasesOf(api) {
  try {
    return await api.get(api.mine());
  } catch (error) {
    if (error.status !== 404) throw error;
    return { releases: [], served: null, state: "active" };
  }
}
