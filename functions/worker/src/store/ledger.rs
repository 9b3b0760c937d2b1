//! The [`Ledger`] port: one object per book.

use bytes::Bytes;
use gateway_core::ports::{Book, Entry, Ledger, Place, PortError};

use super::{Object, Objects, corrupt};
use crate::wire::{Message, Verb};

impl Ledger for Objects {
    async fn write(&self, book: Book, entries: &[Entry]) -> Result<(), PortError> {
        let message = entries.iter().fold(Message::new(Verb::WriteUsage), |message, entry| {
            let place = entry.place.to_string();
            message.bytes(Some(place.as_bytes())).number(Some(entry.ends_ms)).bytes(Some(&entry.record))
        });
        self.ask("ledger.write", Object::Usage(book), message.into_bytes()).await.map(drop)
    }

    async fn scan(&self, book: Book, after: &Place, to_ms: u64, most: usize) -> Result<Vec<(Place, Bytes)>, PortError> {
        const NAME: &str = "ledger.scan";
        let to = Place::start(after.kind, to_ms);
        if *after >= to {
            return Ok(Vec::new());
        }
        let message = Message::new(Verb::ScanUsage)
            .bytes(Some(after.to_string().as_bytes()))
            .bytes(Some(to.to_string().as_bytes()))
            .number(Some(most as u64));
        let mut fields = self.ask(NAME, Object::Usage(book), message.into_bytes()).await?;
        let found = fields.pairs().ok_or_else(|| corrupt(NAME))?;
        found
            .into_iter()
            .map(|(place, record)| Some((place_of(&place)?, record)))
            .collect::<Option<_>>()
            .ok_or_else(|| corrupt(NAME))
    }

    async fn mark(&self, book: Book) -> Result<Option<u64>, PortError> {
        const NAME: &str = "ledger.mark";
        let mut fields = self.ask(NAME, Object::Usage(book), Message::new(Verb::Mark).into_bytes()).await?;
        fields.number().ok_or_else(|| corrupt(NAME))
    }

    async fn move_mark(&self, book: Book, expected: Option<u64>, mark: u64) -> Result<bool, PortError> {
        self.decide("ledger.move_mark", Object::Usage(book), |again| {
            Message::new(Verb::MoveMark).number(expected).number(Some(mark)).flag(again).into_bytes()
        })
        .await
    }

    async fn expire(&self, _: Book, _: u64) -> Result<(), PortError> {
        // The object does so by itself.
        Ok(())
    }
}

fn place_of(text: &[u8]) -> Option<Place> {
    Place::parse(std::str::from_utf8(text).ok()?)
}
