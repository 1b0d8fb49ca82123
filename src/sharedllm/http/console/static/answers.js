// One answer as it comes: of somebody's own release, or of the base alone.

export const OWN = "own";
export const ALONE = "alone";

// The body of a request, for a chat or for a text that goes on.
export function asking(me, { turns, text, seed, tokens, side, temperature }) {
  const common = {
    model: me.model,
    seed,
    max_tokens: tokens,
    ...(temperature === undefined ? {} : { temperature }),
    sharedllm: { base_only: side === ALONE, glass_box: side === OWN },
  };
  return turns ? { ...common, messages: turns } : { ...common, prompt: text };
}

// Streams it; `tell` is called with what there is of it after every piece. Resolves to the whole answer.
export async function answer(api, asked, signal, tell) {
  const path = asked.messages ? "/v1/chat/completions" : "/v1/completions";
  const so = { text: "", routed: null, box: null, reason: null };
  for await (const event of api.stream(path, asked, signal)) {
    const [choice] = event.choices;
    if (choice) {
      so.text += choice.delta?.content ?? choice.text ?? "";
      so.reason = choice.finish_reason ?? so.reason;
    }
    if (event.sharedllm) {
      so.routed = event.sharedllm;
      so.box = event.sharedllm.glass_box?.[0]?.tokens ?? so.box;
    }
    tell({ ...so });
  }
  return so;
}

export function newSeed() {
  const [high, low] = crypto.getRandomValues(new Uint32Array(2));
  return (high % 2 ** 21) * 2 ** 32 + low;
}
