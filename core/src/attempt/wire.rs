//! Which wire format serves which endpoint of which provider type.

use crate::provider::{Endpoint, ProviderKind};

/// The wire format of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    /// OpenAI's own, passed on.
    Pass,
    /// Chats, translated.
    Anthropic,
    Converse,
    WatsonxChat,
    Like,
    /// Legacy completions.
    Generation,
    Completions,
    /// Embeddings.
    Invoke,
    Watsonx,
    Nim,
}

impl Wire {
    pub(super) fn of(kind: ProviderKind, endpoint: Endpoint) -> Option<Self> {
        Some(match (kind, endpoint) {
            (ProviderKind::OpenAi | ProviderKind::AzureOpenAi, _) => Self::Pass,
            (ProviderKind::Anthropic, Endpoint::Chat) => Self::Anthropic,
            (ProviderKind::Bedrock, Endpoint::Chat) => Self::Converse,
            (ProviderKind::WatsonxAi, Endpoint::Chat) => Self::WatsonxChat,
            (ProviderKind::Cerebras | ProviderKind::Nim, Endpoint::Chat) => Self::Like,
            (ProviderKind::WatsonxAi, Endpoint::Completions) => Self::Generation,
            (ProviderKind::Cerebras | ProviderKind::Nim, Endpoint::Completions) => Self::Completions,
            (ProviderKind::Bedrock, Endpoint::Embeddings) => Self::Invoke,
            (ProviderKind::WatsonxAi, Endpoint::Embeddings) => Self::Watsonx,
            (ProviderKind::Nim, Endpoint::Embeddings) => Self::Nim,
            (ProviderKind::Anthropic | ProviderKind::Bedrock, Endpoint::Completions)
            | (ProviderKind::Anthropic | ProviderKind::Cerebras, Endpoint::Embeddings) => return None,
        })
    }

    /// Whether images go as bytes.
    pub(super) fn inlines(self) -> bool {
        matches!(self, Self::Converse | Self::WatsonxChat)
    }
}
