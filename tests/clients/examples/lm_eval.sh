export OPENAI_API_KEY="$SHAREDLLM_KEY"
CHATS="model=$SHAREDLLM_MODEL,base_url=$SHAREDLLM_URL/chat/completions,num_concurrent=2"
SCORES="model=$SHAREDLLM_MODEL,base_url=$SHAREDLLM_URL/completions,tokenizer=$SHAREDLLM_TOKENIZER"

# Examples
set -euo pipefail
cd "$TMPDIR"
echo '{"question": "Who came to the door?", "answer": "She", "choices": ["She", "Nobody"]}' > questions.jsonl
cat > answered.yaml <<TASK
task: answered
dataset_path: json
dataset_kwargs: {data_files: {test: $TMPDIR/questions.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\n"], max_gen_toks: 16}
metric_list: [{metric: exact_match}]
TASK
cat > chosen.yaml <<TASK
task: chosen
dataset_path: json
dataset_kwargs: {data_files: {test: $TMPDIR/questions.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_target: 0
doc_to_choice: choices
metric_list: [{metric: acc}]
TASK
lm_eval run --model local-chat-completions --model_args "$CHATS" --tasks answered --include_path . \
  --apply_chat_template --output_path answered > /dev/null
test -n "$(find answered -name 'results*.json')"
echo "generation"
lm_eval run --model local-completions --model_args "$SCORES" --tasks chosen --include_path . --output_path chosen > /dev/null
test -n "$(find chosen -name 'results*.json')"
echo "choices by their likelihood"
