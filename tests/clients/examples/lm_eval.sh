export OPENAI_API_KEY="$SHAREDLLM_KEY"
ASKED="model=$SHAREDLLM_MODEL,base_url=$SHAREDLLM_URL/chat/completions,num_concurrent=2,max_gen_toks=16"

# Examples
set -euo pipefail
cd "$TMPDIR"
echo '{"question": "Who came to the door?", "answer": "She"}' > questions.jsonl
cat > questions.yaml <<TASK
task: questions
dataset_path: json
dataset_kwargs: {data_files: {test: $TMPDIR/questions.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\n"], max_gen_toks: 16}
metric_list: [{metric: exact_match}]
TASK
lm_eval run --model local-chat-completions --model_args "$ASKED" --tasks questions --include_path . \
  --apply_chat_template --output_path out > /dev/null
test -n "$(find out -name 'results*.json')"
echo "generation"
