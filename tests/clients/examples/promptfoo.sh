cat > promptfooconfig.yaml <<CONFIG
providers:
  - id: openai:chat:$SHAREDLLM_MODEL
    config: {apiBaseUrl: "$SHAREDLLM_URL", apiKey: "$SHAREDLLM_KEY", max_tokens: 16}

# Examples
  - id: openai:responses:$SHAREDLLM_MODEL
    config: {apiBaseUrl: "$SHAREDLLM_URL", apiKey: "$SHAREDLLM_KEY", max_output_tokens: 16}
prompts: ["Who came to the {{place}}?"]
tests:
  - vars: {place: door}
    assert: [{type: javascript, value: "typeof output === 'string'"}]
CONFIG
set -euo pipefail
export PROMPTFOO_DISABLE_TELEMETRY=1 PROMPTFOO_DISABLE_UPDATE=1 PROMPTFOO_CONFIG_DIR="$TMPDIR"
promptfoo eval --no-cache --no-progress-bar -o out.json > promptfoo.log || { cat promptfoo.log; exit 1; }
node -e 'const s = require("./out.json").results.stats; process.exit(s.successes === 2 ? 0 : 1)'
echo "chat"
echo "responses"
