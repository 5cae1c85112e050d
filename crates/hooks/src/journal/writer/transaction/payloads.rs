//! The requests of deliveries: kept, dropped, swept out.

use redb::ReadableTable as _;

use super::{
    super::super::{
        Id, Incoming, Payloads, ms, seal,
        store::{Broken, broken},
    },
    MAX_SWEPT, Work,
};

/// With so many bytes of them, requests that no target needs are not kept: events come first.
const MOST_SPARE: u64 = 256 << 20;

impl Work<'_> {
    /// Keeps the request, if somebody may ask for it.
    pub(super) fn keep_payload(&mut self, id: Id, incoming: &Incoming) -> Result<(), Broken> {
        let needed = incoming.wanted.iter().any(|wanted| wanted.needs_request);
        let Some(request) = &incoming.request else { return Ok(()) };
        let spare = self.options.payloads != Payloads::Never && self.payload_bytes < MOST_SPARE;
        if !needed && !spare {
            return Ok(());
        }
        let Some(bytes) = seal::close(self.shared.seal.as_deref(), id, request) else {
            tracing::error!("a payload cannot be encrypted, so it is not kept");
            return Ok(());
        };
        let size = u64::try_from(bytes.len()).unwrap_or(0);
        self.bytes = self.bytes.saturating_add(size);
        self.payload_bytes = self.payload_bytes.saturating_add(size);
        self.payloads.insert(id.0, &*bytes).map(drop).map_err(broken)
    }

    pub(super) fn drop_payload(&mut self, id: Id) -> Result<(), Broken> {
        let gone = self.payloads.remove(id.0).map_err(broken)?;
        let size = gone.map_or(0, |bytes| bytes.value().len());
        let size = u64::try_from(size).unwrap_or(0);
        self.bytes = self.bytes.saturating_sub(size);
        self.payload_bytes = self.payload_bytes.saturating_sub(size);
        Ok(())
    }

    /// Removes old payloads; those of unfinished deliveries stay.
    pub(super) fn sweep_payloads(&mut self) -> Result<(), Broken> {
        let before = Id::first_of(self.now.saturating_sub(ms(self.options.keep_payloads)));
        let old: Vec<Id> = self
            .payloads
            .range(..before.0)
            .map_err(broken)?
            .take(MAX_SWEPT)
            .filter_map(|entry| entry.ok().map(|(id, _)| Id(id.value())))
            .collect();
        for id in old {
            if self.open.get(id.0).map_err(broken)?.is_none() {
                self.drop_payload(id)?;
            }
        }
        Ok(())
    }
}
