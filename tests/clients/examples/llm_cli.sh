export LLM_USER_PATH="${LLM_USER_PATH:-$HOME/.config/io.datasette.llm}"
cat > "$LLM_USER_PATH/extra-openai-models.yaml" <<MODELS
- model_id: mine
  model_name: $SHAREDLLM_MODEL
  api_base: $SHAREDLLM_URL
  api_key_name: sharedllm
  supports_schema: true
  supports_tools: true
MODELS
llm keys set sharedllm --value "$SHAREDLLM_KEY"

# Examples
set -euo pipefail
llm -m mine -o max_tokens 12 "Who came to the door?" > /dev/null
echo "stream"
llm -m mine -o max_tokens 12 --no-stream -s "Be brief." "Who came to the door?" > /dev/null
echo "chat"
llm -c -o max_tokens 12 "And why?" > /dev/null
echo "conversation"
llm -m mine -o max_tokens 60 --schema '{"type": "object", "properties": {"loud": {"type": "boolean"}},
  "required": ["loud"], "additionalProperties": false}' "A bell." | grep -q loud
echo "structured output"
