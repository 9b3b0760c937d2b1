use super::*;

fn parse(kind: ProviderKind, data: &str) -> Result<(Settings, Credential), DataError> {
    let raw = RawValue::from_string(data.to_owned()).unwrap();
    parse_data(kind, &raw, &AllowedOrigins::default())
}

#[test]
fn every_spelling_of_the_seed_is_read() {
    for (kind, data) in [
        (ProviderKind::OpenAi, r#"{"apikey":"k"}"#),
        (ProviderKind::OpenAi, r#"{"apiKey":"k","baseURL":"https://example.com/v1"}"#),
        (ProviderKind::OpenAi, r#"{"api_key":"k","base-url":"https://example.com/v1"}"#),
        (ProviderKind::WatsonxAi, r#"{"apikey":"k","projectID":"p"}"#),
        (
            ProviderKind::WatsonxAi,
            r#"{"apikey":"k","space_id":"p","authURL":"https://iam.cloud.ibm.com","apiVersion":"2024-05-31"}"#,
        ),
        (
            ProviderKind::AzureOpenAi,
            r#"{"apikey":"k","resourceName":"r-1","subscriptionID":"s","resourceGroupName":"g(1)","accountName":"a"}"#,
        ),
        (ProviderKind::AzureOpenAi, r#"{"azureADToken":"t","resource_name":"r.openai.azure.us"}"#),
        (ProviderKind::AzureOpenAi, r#"{"apikey":null,"azure_ad_token":"t","resource_name":"r"}"#),
        (ProviderKind::Anthropic, r#"{"APIKEY":"k"}"#),
        (ProviderKind::Bedrock, r#"{"accessKeyId":"k","secretAccessKey":"s/+=","region":"us-east-1"}"#),
        (
            ProviderKind::Bedrock,
            r#"{"access_key_id":"k","secret_access_key":"s","region":"us-gov-west-1","session_token":null}"#,
        ),
        (ProviderKind::Bedrock, r#"{"api_key":"k","region":"us-east-1"}"#),
        (ProviderKind::Bedrock, r#"{"apiKey":"k","region":"us-east-1","access_key_id":null}"#),
        (ProviderKind::Cerebras, r#"{"apikey":"k"}"#),
        (ProviderKind::Nim, r#"{"apikey":"k"}"#),
    ] {
        assert!(parse(kind, data).is_ok(), "{data}");
    }
}

#[test]
fn credentials_and_settings_are_told_apart() {
    let (settings, credential) =
        parse(ProviderKind::Bedrock, r#"{"accessKeyId":"AK","secretAccessKey":"SK","region":"eu-west-1"}"#).unwrap();
    assert_eq!(settings.get("region"), Some("eu-west-1"));
    assert_eq!(settings.get("access_key_id"), None);
    assert_eq!(credential.get("access_key_id").map(Secret::open), Some("AK"));
    assert_eq!(credential.get("secret_access_key").map(Secret::open), Some("SK"));
    assert_eq!(credential.get("region").map(Secret::open), None);
}

#[test]
fn what_is_wrong_is_said_without_repeating_it() {
    for (kind, data, param, unknown) in [
        (ProviderKind::OpenAi, "{}", "data.apikey", false),
        (ProviderKind::OpenAi, "[]", "data", false),
        (ProviderKind::OpenAi, r#"{"apikey":null}"#, "data.apikey", false),
        (ProviderKind::OpenAi, r#"{"apikey":1}"#, "data.apikey", false),
        (ProviderKind::OpenAi, r#"{"apikey":""}"#, "data.apikey", false),
        (ProviderKind::OpenAi, r#"{"apikey":"sk canary"}"#, "data.apikey", false),
        (ProviderKind::OpenAi, r#"{"apikey":"sk\r\ncanary"}"#, "data.apikey", false),
        (ProviderKind::OpenAi, r#"{"apikey":"k","apiKey":"k"}"#, "data.apikey", false),
        (ProviderKind::OpenAi, r#"{"apikey":"k","canary":"k"}"#, "data", true),
        (ProviderKind::OpenAi, r#"{"apikey":"k","base_url":"http://canary.example"}"#, "data.base_url", false),
        (ProviderKind::OpenAi, r#"{"apikey":"k","base_url":"https://127.0.0.1/canary"}"#, "data.base_url", false),
        (ProviderKind::WatsonxAi, r#"{"apikey":"k"}"#, "data.project_id", false),
        (
            ProviderKind::WatsonxAi,
            r#"{"apikey":"k","project_id":"p","auth_url":"https://localhost/canary"}"#,
            "data.auth_url",
            false,
        ),
        (ProviderKind::AzureOpenAi, r#"{"apikey":"k"}"#, "data.resource_name", false),
        (ProviderKind::AzureOpenAi, r#"{"resource_name":"r"}"#, "data.apikey", false),
        (
            ProviderKind::AzureOpenAi,
            r#"{"apikey":"canary","azure_ad_token":"canary","resource_name":"r"}"#,
            "data.apikey",
            false,
        ),
        (ProviderKind::WatsonxAi, r#"{"apikey":"k","project_id":"p","api_version":"v1"}"#, "data.api_version", false),
        (ProviderKind::Bedrock, r#"{"access_key_id":"k","secret_access_key":"s"}"#, "data.region", false),
        (ProviderKind::Bedrock, r#"{"api_key":"k"}"#, "data.region", false),
        (ProviderKind::Bedrock, r#"{"region":"us-east-1"}"#, "data.access_key_id", false),
        (ProviderKind::Bedrock, r#"{"region":"us-east-1","session_token":"t"}"#, "data.access_key_id", false),
        (ProviderKind::Bedrock, r#"{"region":"us-east-1","access_key_id":"k"}"#, "data.secret_access_key", false),
        (ProviderKind::Bedrock, r#"{"region":"us-east-1","secret_access_key":"s"}"#, "data.access_key_id", false),
        (
            ProviderKind::Bedrock,
            r#"{"region":"us-east-1","access_key_id":"k","apikey":"canary"}"#,
            "data.api_key",
            false,
        ),
        (
            ProviderKind::Bedrock,
            r#"{"region":"us-east-1","session_token":"t","apikey":"canary"}"#,
            "data.api_key",
            false,
        ),
    ] {
        let error = parse(kind, data).unwrap_err();
        assert_eq!((error.param.as_str(), error.unknown), (param, unknown), "{data}");
        assert!(!error.message.contains("canary"), "{}", error.message);
    }
}

#[test]
fn host_parts_have_strict_patterns() {
    for (kind, field, good, bad) in [
        (
            ProviderKind::AzureOpenAi,
            "resource_name",
            &["r", "my-res-1", "r.openai.azure.cn", "r.services.ai.azure.com"][..],
            &["x/#", "a@b", "a.b", "a.openai.azure.com.b", "-a.openai.azure.us", "a\\r\\nb", "", "A", "-a", "a-"][..],
        ),
        (
            ProviderKind::Bedrock,
            "region",
            &["us-east-1", "ap-southeast-2", "us-gov-east-1"],
            &["us", "us-east", "us-east-12", "a@b", "us-east-1.evil", "us--1", ""],
        ),
        (
            ProviderKind::AzureOpenAi,
            "api_version",
            &["2024-10-21", "2025-01-01-preview", "v1", "latest", "preview"],
            &["2024", "v2", "2024-10-21-x", "2024/10/21", ""],
        ),
    ] {
        let data = |value: &str| match (kind, field) {
            (ProviderKind::AzureOpenAi, "api_version") => {
                format!(r#"{{"apikey":"k","resource_name":"r","api_version":"{value}"}}"#)
            }
            (ProviderKind::AzureOpenAi, _) => format!(r#"{{"apikey":"k","resource_name":"{value}"}}"#),
            _ => format!(r#"{{"access_key_id":"k","secret_access_key":"s","region":"{value}"}}"#),
        };
        for value in good {
            assert!(parse(kind, &data(value)).is_ok(), "{field} {value}");
        }
        for value in bad {
            assert_eq!(parse(kind, &data(value)).unwrap_err().param, format!("data.{field}"), "{value}");
        }
    }
    let long = format!(r#"{{"apikey":"k","resource_name":"{}"}}"#, "r".repeat(64));
    assert!(parse(ProviderKind::AzureOpenAi, &long).is_err());
}

#[test]
fn credential_length_at_the_limit() {
    let data = |n: usize| format!(r#"{{"apikey":"{}"}}"#, "k".repeat(n));
    assert!(parse(ProviderKind::OpenAi, &data(limits::CREDENTIAL_BYTES)).is_ok());
    assert!(parse(ProviderKind::OpenAi, &data(limits::CREDENTIAL_BYTES + 1)).is_err());
}
