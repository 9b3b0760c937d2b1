//! stub
use crate::chat::*;
use crate::frame::sse;
pub(crate) struct Decoder;
impl Decoder {
    pub(crate) fn push(&mut self, _: &sse::Event, _: &mut impl FnMut(Event<'_>)) {}
    pub(crate) fn finish(&mut self, _: &mut impl FnMut(Event<'_>)) {}
}
