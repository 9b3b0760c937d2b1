//! Wire formats. Each dialect has a folder with the same five files; none knows URLs or credentials.

pub(crate) mod openai_chat;
