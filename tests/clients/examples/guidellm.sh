BACKEND="kind=openai_http,target=${SHAREDLLM_URL%/v1},api_key=$SHAREDLLM_KEY,model=$SHAREDLLM_MODEL"

# Examples
set -euo pipefail
for question in Who Why When Where; do echo "{\"prompt\": \"$question came to the door?\"}"; done > prompts.jsonl
for address in /v1/chat/completions /v1/completions /v1/responses; do
  guidellm run --backend "$BACKEND,request_format=$address,max_tokens=12" --data kind=json_file,path=prompts.jsonl \
    --profile kind=synchronous --constraint kind=max_requests,count=3 --output kind=json,path=out.json \
    --disable-console > guidellm.log 2>&1 || { tail -n 40 guidellm.log; exit 1; }
  python - <<'CHECK'
import json

(benchmark,) = json.load(open("out.json"))["benchmarks"]
counts = benchmark["metrics"]["request_totals"]
assert counts["successful"] == 3 and not counts["errored"], counts
CHECK
  echo "$address"
done
