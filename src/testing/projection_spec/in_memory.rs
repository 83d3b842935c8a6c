//! Document projections over a map in memory.

use super::engine::{Engine, document_place};
use crate::database::DEFAULT_PARTITION;
use crate::error::{Error, Result};
use crate::events::RecordedMessage;
use crate::events::stream::{Stored, StreamAppend};
use crate::json::jsonb_form;
use crate::pongo::{DocumentTable, StoredDocument};
use crate::projection::{DocumentProjection, Documents, Projection, check_handled, handled_among};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::SystemTime;

/// Runs a [`DocumentProjection`] without a server. See [`ProjectionSpec::of`](super::ProjectionSpec::of).
#[derive(Debug)]
pub struct InMemory<D> {
    projection: DocumentProjection<D>,
    documents: MemoryDocuments,
    /// All messages; the first one has position 1.
    messages: Vec<RecordedMessage>,
    versions: HashMap<String, u64>,
    own_ids: HashSet<String>,
    pub(super) recorded_at: SystemTime,
}

impl<D: Serialize + DeserializeOwned + 'static> InMemory<D> {
    pub(super) fn new(projection: DocumentProjection<D>) -> Result<Self> {
        check_handled(&projection)?;
        let collection = projection.name();
        let table = DocumentTable::new("public", DEFAULT_PARTITION, collection, collection)?;
        Ok(Self {
            documents: MemoryDocuments {
                table,
                documents: BTreeMap::new(),
            },
            projection,
            messages: Vec::new(),
            versions: HashMap::new(),
            own_ids: HashSet::new(),
            recorded_at: SystemTime::UNIX_EPOCH,
        })
    }

    /// Runs the step that a store runs.
    fn handle(&mut self, messages: Vec<&RecordedMessage>) -> Result<()> {
        let messages = handled_among(&self.projection, messages);
        self.projection
            .handle_in(&messages, &mut self.documents)
            .map_err(|source| Error::projection(self.projection.name(), source))
    }

    /// Refuses a message id that is there already. A store appends such a message once.
    fn refuse_known_ids(&self, append: &StreamAppend) -> Result<()> {
        let mut ids = append.messages.iter().map(|message| &message.message_id);
        let Some(id) = ids.find(|id| self.own_ids.contains(*id)) else {
            return Ok(());
        };
        Err(Error::invalid(
            format!("message id \"{id}\""),
            "is that of an earlier event, which a store would not append again: repeat a delivery by twice()",
        ))
    }

    /// Numbers messages as a store would.
    fn record(&self, append: &StreamAppend) -> Vec<RecordedMessage> {
        let count = append.messages.len() as u64;
        let (before, head) = (self.version(&append.stream), self.messages.len() as u64);
        append.recorded(&Stored {
            version: before + count,
            recorded_at: self.recorded_at,
            global_positions: (head + 1..=head + count).collect(),
            already_appended: false,
            projections: Vec::new(),
            is_followed: false,
        })
    }

    fn version(&self, stream: &str) -> u64 {
        self.versions.get(stream).copied().unwrap_or_default()
    }
}

impl<D: Serialize + DeserializeOwned + 'static> Engine for InMemory<D> {
    fn append(&mut self, append: StreamAppend) -> Result<Vec<u64>> {
        self.refuse_known_ids(&append)?;
        let recorded = self.record(&append);
        // A failure leaves nothing, as that of an inline projection.
        self.handle(recorded.iter().collect())?;
        let version = self.version(&append.stream) + recorded.len() as u64;
        self.versions.insert(append.stream.to_string(), version);
        let own = append
            .messages
            .into_iter()
            .filter(|message| message.has_own_id);
        self.own_ids.extend(own.map(|message| message.message_id));
        let positions = recorded.iter().map(RecordedMessage::global_position);
        let positions = positions.collect();
        self.messages.extend(recorded);
        Ok(positions)
    }

    fn repeat(&mut self, appends: &[Vec<u64>]) -> Result<()> {
        let messages = std::mem::take(&mut self.messages);
        let repeated = appends.iter().try_for_each(|positions| {
            let of_append =
                |message: &&RecordedMessage| positions.contains(&message.global_position());
            self.handle(messages.iter().filter(of_append).collect())
        });
        self.messages = messages;
        repeated
    }

    fn state(&mut self) -> Result<BTreeMap<String, Value>> {
        let documents = self.documents.documents.iter();
        documents
            .map(|(id, document)| {
                let stored = self.documents.table.decode(Some(id), &document.data)?;
                Ok((document_place(id), stored))
            })
            .collect()
    }

    fn documents(&mut self) -> Result<BTreeMap<String, Value>> {
        let documents = self.documents.documents.iter();
        documents
            .map(|(id, document)| {
                let document = document.stored(id).json();
                let document = self.documents.table.decode(Some(id), &document)?;
                Ok((id.clone(), document))
            })
            .collect()
    }
}

/// Documents as rows would hold them.
#[derive(Debug)]
struct MemoryDocuments {
    table: DocumentTable,
    documents: BTreeMap<String, MemoryDocument>,
}

#[derive(Debug)]
struct MemoryDocument {
    /// In the form of `jsonb`, so that `evolve` reads what it would read from a table.
    data: Vec<u8>,
    version: u64,
}

impl MemoryDocument {
    fn stored<'r>(&'r self, id: &'r str) -> StoredDocument<'r> {
        StoredDocument {
            data: &self.data,
            id,
            version: self.version,
        }
    }
}

impl Documents for MemoryDocuments {
    fn table(&self) -> &DocumentTable {
        &self.table
    }

    fn owns(&self, _id: &str) -> bool {
        true
    }

    fn lock<D: DeserializeOwned>(
        &mut self,
        ids: &[&str],
        without_ids: bool,
    ) -> anyhow::Result<Vec<(String, Option<D>)>> {
        let read = |&id: &&str| {
            let document = match self.documents.get(id) {
                Some(document) => self.table.read_locked(&document.stored(id), without_ids)?,
                None => None,
            };
            Ok((id.to_owned(), document))
        };
        ids.iter().map(read).collect()
    }

    fn write(&mut self, written: &[(&str, Vec<u8>)], deleted: &[&str]) -> anyhow::Result<()> {
        let form = |(id, json): &(&str, Vec<u8>)| Ok(((*id).to_owned(), jsonb_form(json)?));
        let written: Vec<(String, Vec<u8>)> =
            written.iter().map(form).collect::<anyhow::Result<_>>()?;
        for (id, data) in written {
            let version = self
                .documents
                .get(&id)
                .map_or(0, |document| document.version);
            let version = version + 1;
            self.documents.insert(id, MemoryDocument { data, version });
        }
        for id in deleted {
            self.documents.remove(*id);
        }
        Ok(())
    }
}
