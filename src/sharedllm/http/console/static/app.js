// The page: who is here, which place is shown, and the way between them. Places are in views.js.

import { Login } from "./login.js";
import { Problem, html, render, useEffect, useState } from "./parts.js";
import * as session from "./session.js";
import { VIEWS } from "./views.js";

function place() {
  return location.hash.replace(/^#\//, "");
}

function usePlace() {
  const [at, set] = useState(place());
  useEffect(() => {
    const moved = () => set(place());
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  return at;
}

function View({ view, session }) {
  const [loaded, set] = useState({});
  useEffect(() => {
    document.title = `${view.title} · SharedLLM`;
    // What comes for a place that was left meanwhile would take the place of what is there.
    let here = true;
    const come = (loaded) => here && set({ id: view.id, ...loaded });
    view.load().then(
      (module) => come({ Shown: module.default }),
      () => come({ error: new Error("The server cannot be reached. Reload the page once it runs again.") }),
    );
    return () => { here = false; };
  }, [view.id]);
  if (loaded.id !== view.id) return html`<p role="status">Loading…</p>`;
  if (loaded.error) return html`<${Problem} error=${loaded.error} />`;
  return html`<${loaded.Shown} key=${view.id} session=${session} />`;
}

function Shell({ session, leave }) {
  const at = usePlace();
  const views = VIEWS.filter((view) => view.who(session.me));
  const view = views.find((each) => each.id === at) ?? views[0];
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to the content</a>
    <header class="bar">
      <p class="who"><strong>SharedLLM</strong> ${session.me.user !== null && html`<bdi dir="auto">${session.me.user}</bdi>`}</p>
      <nav aria-label="Places">
        <ul>
          ${views.map((each) => html`<li key=${each.id}>
            <a href="#/${each.id}" aria-current=${each === view ? "page" : undefined}>${each.title}</a>
          </li>`)}
        </ul>
      </nav>
      <button type="button" class="quiet" onClick=${leave}>Log out</button>
    </header>
    <main id="main" tabindex="-1">
      ${view ? html`<${View} view=${view} session=${session} />` : html`<p>There is nothing here for this key.</p>`}
    </main>`;
}

function skip(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

function App() {
  const [here, set] = useState({ asking: true });
  const leave = (why) => {
    session.forget();
    set({ why });
  };
  const enter = async (key, user) => set({ session: await session.begin(key, user, leave) });
  useEffect(() => {
    const code = session.codeInAddress();
    const { key, user } = session.remembered();
    // Without a key it is asked all the same: a server for one machine alone lets everybody in.
    const entered = code ? session.redeemed(code).then(enter) : enter(key, user);
    // That there is no key is news only where none can be typed.
    entered.catch((error) => leave(error.code === "not_authenticated" && !key ? null : error));
  }, []);
  if (here.asking) return html`<main><p role="status">Loading…</p></main>`;
  if (here.session && (here.session.me.user !== null || here.session.me.kind === "service")) {
    return html`<${Shell} session=${here.session} leave=${() => leave(null)} />`;
  }
  return html`<${Login} enter=${enter} why=${here.why} open=${here.session?.me.kind === "anyone"} />`;
}

const root = document.getElementById("app");
root.replaceChildren();
render(html`<${App} />`, root);
