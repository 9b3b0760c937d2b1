//! Frames of `application/vnd.amazon.eventstream`.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html> describes the framing.

use serde_json::Value;

use crate::text::crc32;

/// Bytes of a frame that are neither headers nor payload.
const OVERHEAD: usize = 16;

/// A frame with a JSON payload, as events and exceptions are.
pub(super) fn json(kind: &str, name: &str, payload: &Value) -> Vec<u8> {
    let named = format!(":{kind}-type");
    let headers = [(named.as_str(), name), (":content-type", "application/json"), (":message-type", kind)];
    frame(&headers, payload.to_string().as_bytes())
}

/// A frame that is an error of the stream itself, without payload.
pub(super) fn failure(code: &str, message: &str) -> Vec<u8> {
    frame(&[(":error-code", code), (":error-message", message), (":message-type", "error")], b"")
}

/// Spoils a checksum: that of the prelude, or that of the whole frame.
pub(super) fn spoil(frame: &mut [u8], prelude: bool) {
    let at = if prelude { 11 } else { frame.len().saturating_sub(1) };
    if let Some(byte) = frame.get_mut(at) {
        *byte ^= 0xff;
    }
}

fn frame(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut lines = Vec::new();
    for (name, value) in headers {
        lines.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        lines.extend(name.as_bytes());
        // 7 is a string.
        lines.push(7);
        lines.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
        lines.extend(value.as_bytes());
    }
    let mut out = length(OVERHEAD + lines.len() + payload.len()).to_vec();
    out.extend(length(lines.len()));
    out.extend(crc32(&out).to_be_bytes());
    out.extend(lines);
    out.extend(payload);
    out.extend(crc32(&out).to_be_bytes());
    out
}

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_the_bytes_that_botocore_reads() {
        let frame = json("event", "messageStart", &serde_json::json!({"role": "assistant"}));
        let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(hex.starts_with("000000760000005296d5fade0b3a6576656e742d74797065"), "{hex}");
        assert!(hex.ends_with("7b22726f6c65223a22617373697374616e74227d6fa8c599"), "{hex}");
    }
}
