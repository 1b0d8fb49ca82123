// Who is logged in, in this tab alone: the key lies in memory and in this tab's sessionStorage, and nowhere else.

import { Api } from "./api.js";

const PLACE = "sharedllm";

export function remembered() {
  try {
    return JSON.parse(sessionStorage.getItem(PLACE)) ?? {};
  } catch {
    return {};
  }
}

// What `sharedllm try` put into the address: taken out of it, and out of the history, before anything else.
export function codeInAddress() {
  if (!location.hash.startsWith("#code=")) return null;
  const code = location.hash.slice("#code=".length);
  history.replaceState(null, "", location.pathname);
  return code;
}

export async function redeemed(code) {
  return (await new Api(undefined, undefined, null).post("/v1/visits", { code })).key;
}

export function forget() {
  sessionStorage.removeItem(PLACE);
}

// Asks the server who the key speaks for. `user` is whom a service key, or a server that asks nobody, acts for.
export async function begin(key, user, unauthorised) {
  const me = await new Api(key, user, null).get("/v1/me");
  sessionStorage.setItem(PLACE, JSON.stringify({ key, user: me.user }));
  return { me, api: new Api(key, me.user, unauthorised), kept: {} };
}
