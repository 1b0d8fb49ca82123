// The server's API, as any client speaks it. The key travels in the Authorization header alone.

export class Refusal extends Error {
  // What the server refused: `status` is 0 where it could not be reached.
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

const LOST = "The server cannot be reached, or the connection broke off.";

export class Api {
  // `unauthorised` is called once a key that was good is so no more.
  constructor(key, user, unauthorised) {
    this.key = key;
    this.user = user;
    this.unauthorised = unauthorised;
  }

  async send(method, path, { json, body, type, signal, headers: more } = {}) {
    const headers = { ...more };
    if (this.key) headers["Authorization"] = `Bearer ${this.key}`;
    if (this.user) headers["X-SharedLLM-User"] = encodeURIComponent(this.user);
    if (json !== undefined) {
      headers["Content-Type"] = "application/json";
      body = JSON.stringify(json);
    } else if (type) headers["Content-Type"] = type;
    let response;
    try {
      response = await fetch(path, { method, headers, body, signal, cache: "no-store", credentials: "omit" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refusal(0, "unreachable", LOST);
    }
    if (response.ok) return response;
    const refusal = await refused(response);
    if (refusal.status === 401) {
      // Once: what is under way beside it ends with the page.
      const { unauthorised } = this;
      this.unauthorised = null;
      unauthorised?.(refusal);
    }
    throw refusal;
  }

  async get(path, options) {
    return (await this.send("GET", path, options)).json();
  }

  async post(path, json, options) {
    return (await this.send("POST", path, { json, ...options })).json();
  }

  async remove(path) {
    return (await this.send("DELETE", path)).json();
  }

  mine(path = "") {
    return `/v1/users/${encodeURIComponent(this.user)}${path}`;
  }

  // Yields the events of a stream; throws a Refusal for one that is an error, and where it breaks off.
  async *stream(path, json, signal) {
    const response = await this.send("POST", path, { json: { ...json, stream: true }, signal });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    // A network that is gone says nothing: what is read from it would be waited for without end.
    let gone;
    const offline = new Promise((_, reject) => {
      gone = () => reject(new TypeError("offline"));
      addEventListener("offline", gone);
    });
    let held = "";
    try {
      for (;;) {
        const { done, value } = await Promise.race([reader.read(), offline]);
        if (done) throw new TypeError("cut off");
        held += value;
        const lines = held.split("\n\n");
        held = lines.pop();
        for (const line of lines) {
          const data = line.startsWith("data: ") ? line.slice(6) : "";
          if (data === "[DONE]") return;
          if (!data) continue;
          const event = JSON.parse(data);
          if (event.error) throw new Refusal(response.status, event.error.code, event.error.message);
          yield event;
        }
      }
    } catch (error) {
      if (error instanceof TypeError) throw new Refusal(0, "broken_off", LOST);
      throw error;
    } finally {
      removeEventListener("offline", gone);
      reader.cancel().catch(() => {});
    }
  }
}

async function refused(response) {
  try {
    const { error } = await response.json();
    return new Refusal(response.status, error.code, error.message);
  } catch {
    return new Refusal(response.status, "unknown", `The server answered with status ${response.status}.`);
  }
}
