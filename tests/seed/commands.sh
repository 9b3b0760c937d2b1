# The commands of the document that this gateway was asked to serve ("Using the model gateway on IBM Cloud"), word for word.
# Sourced by test_seed.py; each function is one command. Nothing here may be changed to make it pass.
# shellcheck shell=bash disable=SC2086,SC2034

create_tenant() {
curl ${GATEWAY_URL}/v1/tenant \
-H "Content-Type: application/json" \
-H "Authorization: Bearer ${IBM_CLOUD_APIKEY}" \
-d @- <<EOF
{
"name": "test",
"secrets_manager": "${SECRETS_MANAGER}"
}
EOF
}

find_openai_provider() {
export OPENAI_PROVIDER_UUID=$(curl -sS ${GATEWAY_URL}/v1/providers \
-H "Content-Type: application/json" \
-H "Authorization: Bearer ${IBM_CLOUD_APIKEY}" \
| jq -r --arg name "my-openai-provider" '.[] | select(.name == $name) | .uuid')
}

create_openai() {
curl -sS ${GATEWAY_URL}/v1/providers/openai \
-H "Content-Type: application/json" \
-H "Authorization: Bearer $IBM_CLOUD_APIKEY" \
-d "$(jq -n \
--arg name "my-openai-provider" \
--arg apikey "$OPENAI_APIKEY" \
'{name: $name, data: {apikey: $apikey}}')"
}

create_watsonxai() {
curl -sS ${GATEWAY_URL}/v1/providers/watsonxai \
-H "Content-Type: application/json" \
-H "Authorization: Bearer $IBM_CLOUD_APIKEY" \
-d "$(jq -n \
--arg name "my-watsonxai-provider" \
--arg apikey "$WATSONX_AI_APIKEY" \
--arg projectid "$WATSONX_AI_PROJECT_ID" \
'{name: $name, data: {apikey: $apikey, project_id: $projectid}}')"
}

create_azure_openai() {
curl -sS ${GATEWAY_URL}/v1/providers/azure-openai \
-H "Content-Type: application/json" \
-H "Authorization: Bearer $IBM_CLOUD_APIKEY" \
-d "$(jq -n \
--arg name "my-azure-openai-provider" \
--arg apikey "$AZURE_OPENAI_APIKEY" \
--arg resourcename "$AZURE_OPENAI_RESOURCE_NAME" \
'{name: $name, data: {apikey: $apikey, resource_name: $resourcename}}')"
}

create_anthropic() {
curl -sS ${GATEWAY_URL}/v1/providers/anthropic \
-H "Content-Type: application/json" \
-H "Authorization: Bearer $IBM_CLOUD_APIKEY" \
-d "$(jq -n \
--arg name "my-anthropic-provider" \
--arg apikey "$ANTHROPIC_APIKEY" \
'{name: $name, data: {apikey: $apikey}}')"
}

create_bedrock() {
curl -sS ${GATEWAY_URL}/v1/providers/bedrock \
-H "Content-Type: application/json" \
-H "Authorization: Bearer $IBM_CLOUD_APIKEY" \
-d "$(jq -n \
--arg name "my-bedrock-provider" \
--arg keyid "$AWS_BEDROCK_KEY_ID" \
--arg accesskey "$AWS_BEDROCK_ACCESS_KEY" \
--arg region "$AWS_BEDROCK_REGION" \
'{name: $name, data: {access_key_id: $keyid, secret_access_key: $accesskey, region: $region}}')"
}

create_cerebras() {
curl -sS ${GATEWAY_URL}/v1/providers/cerebras \
-H "Content-Type: application/json" \
-H "Authorization: Bearer $IBM_CLOUD_APIKEY" \
-d "$(jq -n \
--arg name "my-cerebras-provider" \
--arg apikey "$CEREBRAS_APIKEY" \
'{name: $name, data: {apikey: $apikey}}')"
}

create_nim() {
curl -sS ${GATEWAY_URL}/v1/providers/nim \
-H "Content-Type: application/json" \
-H "Authorization: Bearer $IBM_CLOUD_APIKEY" \
-d "$(jq -n \
--arg name "my-nim-provider" \
--arg apikey "$NIM_APIKEY" \
'{name: $name, data: {apikey: $apikey}}')"
}

enable_on_azure() {
curl -X POST "${GATEWAY_URL}/v1/providers/${AZURE_OPENAI_PROVIDER_UUID}/models" \
-H "Content-Type: application/json" \
-H "Authorization: Bearer ${IBM_CLOUD_APIKEY}" \
-d '{ "alias": "azure/gpt-4o", "id": "scribeflowgpt4o"}'
}

enable_on_bedrock() {
curl -X POST "${GATEWAY_URL}/v1/providers/${AWS_BEDROCK_PROVIDER_UUID}/models" \
-H "Content-Type: application/json" \
-H "Authorization: Bearer ${IBM_CLOUD_APIKEY}" \
-d '{ "alias": "aws/claude-3-sonnet", "id": "anthropic.claude-3-7-sonnet-20250219-v1:0"}'
}

list_providers() {
curl -sS ${GATEWAY_URL}/v1/providers \
-H "Content-Type: application/json" \
-H "Authorization: Bearer ${IBM_CLOUD_APIKEY}"
}

list_models_of_azure() {
curl -sS "${GATEWAY_URL}/v1/providers/${AZURE_OPENAI_DALLE_PROVIDER_UUID}/models" \
-H "Content-Type: application/json" \
-H "Authorization: Bearer ${IBM_CLOUD_APIKEY}"
}

list_models() {
curl -sS "${GATEWAY_URL}/v1/models" \
-H "Content-Type: application/json" \
-H "Authorization: Bearer ${IBM_CLOUD_APIKEY}"
}

chat() {
curl ${GATEWAY_URL}/v1/chat/completions \
-H "Content-Type: application/json" \
-H "Authorization: Bearer $IBM_CLOUD_APIKEY" \
-d '{
"model": "azure/gpt-4o",
"messages": [
{
"role": "system",
"content": "Please explain everything in a way a 5th grader could understand—simple language, clear steps, and easy examples."
},
{
"role": "user",
"content": "Can you explain what TLS is and how I can use it?"
}
]
}'
}

complete() {
curl ${GATEWAY_URL}/v1/completions \
-H "Content-Type: application/json" \
-H "Authorization: Bearer $IBM_CLOUD_APIKEY" \
-d '{
"model": "ibm/llama-3.3-70b",
"prompt": "Say this is a test",
"max_tokens": 7,
"temperature": 0
}'
}

embed() {
curl ${GATEWAY_URL}/v1/embeddings \
-H "Content-Type: application/json" \
-H "Authorization: Bearer $IBM_CLOUD_APIKEY" \
-d '{
"input": "The food was delicious and the waiter...",
"model": "text-embedding-3-large",
"encoding_format": "float"
}'
}
