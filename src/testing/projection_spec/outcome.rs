//! The documents and rows that a specified projection has written, and their expectations.

use super::engine::{Engine, document_place, error_text, prepared};
use super::on_server::OnServer;
use crate::events::Appendable;
use crate::json::to_json;
use crate::testing::difference::{Comparison, differences, report};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

type State = BTreeMap<String, Value>;

/// The fields of a document that are compared only if the expected document has them.
const COLUMNS: [&str; 2] = ["_id", "_version"];

/// A specification after its events, made by [`ProjectionSpec::when`](super::ProjectionSpec::when).
#[derive(Debug)]
pub struct ProjectionOutcome<E> {
    engine: E,
    /// The positions of the messages of each `when`.
    appends: Vec<Vec<u64>>,
    failure: Option<Failure>,
}

/// The events could not be handled.
#[derive(Debug)]
struct Failure {
    delivery: u32,
    text: String,
}

impl Failure {
    fn describe(&self) -> String {
        match self.delivery {
            1 => format!("the events could not be handled: {}", self.text),
            number => format!("delivery {number} of the events failed: {}", self.text),
        }
    }
}

#[expect(
    clippy::return_self_not_must_use,
    reason = "each expectation may be the last one"
)]
impl<E: Engine> ProjectionOutcome<E> {
    pub(super) fn new(engine: E) -> Self {
        Self {
            engine,
            appends: Vec::new(),
            failure: None,
        }
    }

    /// Appends more events, to this or another stream.
    ///
    /// # Panics
    /// When the events cannot be stored, or earlier events could not be handled.
    #[must_use]
    #[track_caller]
    pub fn when<A: Appendable>(
        mut self,
        stream: &str,
        events: impl IntoIterator<Item = A>,
    ) -> Self {
        self.expect_handled();
        let events: Vec<A> = events.into_iter().collect();
        match self.engine.append(prepared(stream, &events)) {
            Ok(positions) => self.appends.push(positions),
            Err(error) => self.fail(1, error_text(error)),
        }
        self
    }

    /// Delivers the events of `when` twice. See [`times`](ProjectionOutcome::times).
    ///
    /// # Panics
    /// Those of [`times`](ProjectionOutcome::times).
    #[must_use]
    #[track_caller]
    pub fn twice(self) -> Self {
        self.times(2)
    }

    /// Number of deliveries of the events of `when`. Each delivery after the first has the same messages, with their ids and
    /// positions, and must change nothing. Only the documents' versions may change.
    ///
    /// A store delivers events again after a [reset](crate::operations::Processors::reset) of the processor. In memory and
    /// inline, the projection's handler is called again; an append that is repeated under its message ids would not call it.
    /// Defaults to 1.
    ///
    /// # Panics
    /// When a repeated delivery changes a document or a row. The message lists each field that differs. Also for 0.
    #[must_use]
    #[track_caller]
    pub fn times(mut self, deliveries: u32) -> Self {
        assert!(deliveries > 0, "events are delivered at least once");
        if deliveries == 1 || self.failure.is_some() {
            return self;
        }
        let first = self.state();
        for delivery in 2..=deliveries {
            if let Err(error) = self.engine.repeat(&self.appends) {
                self.fail(delivery, error_text(error));
                return self;
            }
            let lines = changes(&first, &self.state(), delivery);
            let heading = format!(
                "delivery {delivery} of the same events changes what the projection has written"
            );
            report(&heading, &lines);
        }
        self
    }

    /// Expects this document. It is compared as JSON, as it is stored. Its fields `_id` and `_version` are compared only if
    /// the expected document has them.
    ///
    /// # Panics
    /// When there is no such document, or when it differs. The message lists each field that differs, and the place is the
    /// caller's line. Also when the events could not be handled.
    #[track_caller]
    pub fn document(mut self, id: &str, expected: impl Serialize) -> Self {
        let (place, expected) = (document_place(id), stored(&expected));
        let found = self.found();
        let Some(document) = found.get(id) else {
            let others = list(&found);
            panic!("{place}: expected {expected}, found nothing; there {others}");
        };
        report(&place, &document_differences(&expected, document));
        self
    }

    /// Expects that no document has this id: it was never written, or it was deleted.
    ///
    /// # Panics
    /// When there is such a document, or when the events could not be handled.
    #[track_caller]
    pub fn no_document(mut self, id: &str) -> Self {
        if let Some(document) = self.found().get(id) {
            panic!("{}: expected nothing, found {document}", document_place(id));
        }
        self
    }

    /// Expects exactly these documents, each with its id. They are compared as by [`document`](ProjectionOutcome::document).
    ///
    /// # Panics
    /// When a document is missing, is there beside them, or differs, or when the events could not be handled.
    #[track_caller]
    pub fn documents<I: Into<String>, D: Serialize>(
        mut self,
        expected: impl IntoIterator<Item = (I, D)>,
    ) -> Self {
        let mut found = self.found();
        let mut lines = Vec::new();
        for (id, document) in expected {
            let (id, document) = (id.into(), stored(&document));
            let place = document_place(&id);
            let fields = match found.remove(&id) {
                Some(found) => document_differences(&document, &found),
                None => vec![format!("expected {document}, found nothing")],
            };
            lines.extend(fields.into_iter().map(|field| format!("{place}: {field}")));
        }
        let beside = found.iter().map(|(id, document)| {
            format!("{}: expected nothing, found {document}", document_place(id))
        });
        lines.extend(beside);
        report("the documents", &lines);
        self
    }

    /// Expects no documents at all.
    ///
    /// # Panics
    /// When there is a document, or when the events could not be handled.
    #[track_caller]
    pub fn no_documents(self) -> Self {
        self.documents::<String, Value>([])
    }

    /// Expects that handling the events failed, with this text in the error or one of its causes. A failure of an inline
    /// projection rolls the append back.
    ///
    /// # Panics
    /// When the events were handled, or when the error has another text.
    #[track_caller]
    pub fn fails_with(self, text: &str) {
        let Some(failure) = self.failure else {
            panic!("expected a failure with {text:?}, but the events were handled");
        };
        assert!(
            failure.text.contains(text),
            "expected a failure with {text:?}, found another: {}",
            failure.text
        );
    }

    fn fail(&mut self, delivery: u32, text: String) {
        self.failure = Some(Failure { delivery, text });
    }

    #[track_caller]
    fn expect_handled(&self) {
        if let Some(failure) = &self.failure {
            panic!("{}", failure.describe());
        }
    }

    #[track_caller]
    fn state(&mut self) -> State {
        match self.engine.state() {
            Ok(state) => state,
            Err(error) => panic!(
                "what the projection has written cannot be read: {}",
                error_text(error)
            ),
        }
    }

    #[track_caller]
    fn found(&mut self) -> State {
        self.expect_handled();
        match self.engine.documents() {
            Ok(documents) => documents,
            Err(error) => panic!("the documents cannot be read: {}", error_text(error)),
        }
    }
}

#[expect(
    clippy::return_self_not_must_use,
    reason = "each expectation may be the last one"
)]
impl ProjectionOutcome<OnServer<'_>> {
    /// Collection that the following expectations of documents read. Defaults to the projection's name.
    ///
    /// # Panics
    /// When the name is invalid.
    #[must_use]
    #[track_caller]
    pub fn collection(mut self, name: &str) -> Self {
        if let Err(error) = self.engine.read_from(name) {
            panic!("{}", error_text(error));
        }
        self
    }

    /// Expects exactly these rows of a query, in this order, each as an object of its columns. They are compared as JSON.
    ///
    /// # Panics
    /// When the query fails, or when a row is missing, is there beside them, or differs. The message lists each column that
    /// differs. Also when the events could not be handled.
    #[track_caller]
    pub fn rows<R: Serialize>(self, query: &str, expected: impl IntoIterator<Item = R>) -> Self {
        self.expect_handled();
        let found = match self.engine.rows(query) {
            Ok(rows) => rows,
            Err(error) => panic!("the query fails: {error:#}\n  {query}"),
        };
        let expected: Vec<Value> = expected.into_iter().map(|row| stored(&row)).collect();
        report("the rows", &row_differences(&expected, &found));
        self
    }

    /// Expects that a query returns no rows.
    ///
    /// # Panics
    /// When it returns a row, when it fails, or when the events could not be handled.
    #[track_caller]
    pub fn no_rows(self, query: &str) -> Self {
        self.rows::<Value>(query, [])
    }
}

/// Returns an expected value as it would be stored.
#[track_caller]
fn stored(expected: &impl Serialize) -> Value {
    let json = match to_json(expected) {
        Ok(json) => json,
        Err(error) => panic!("an expected value cannot be stored: {error}"),
    };
    match serde_json::from_slice(&json) {
        Ok(value) => value,
        Err(error) => panic!("an expected value is no JSON: {error}"),
    }
}

fn document_differences(expected: &Value, found: &Value) -> Vec<String> {
    let mut found = found.clone();
    if let Some(fields) = found.as_object_mut() {
        fields.retain(|name, _| !COLUMNS.contains(&name.as_str()) || expected.get(name).is_some());
    }
    differences(expected, &found)
}

fn row_differences(expected: &[Value], found: &[Value]) -> Vec<String> {
    let mut lines = Vec::new();
    for number in 0..expected.len().max(found.len()) {
        let place = format!("row {}", number + 1);
        match (expected.get(number), found.get(number)) {
            (Some(expected), Some(found)) => {
                let columns = differences(expected, found).into_iter();
                lines.extend(columns.map(|column| format!("{place}: {column}")));
            }
            (Some(expected), None) => {
                lines.push(format!("{place}: expected {expected}, found nothing"));
            }
            (None, Some(found)) => lines.push(format!("{place}: expected nothing, found {found}")),
            (None, None) => {}
        }
    }
    lines
}

/// Lists what a repeated delivery has changed.
fn changes(first: &State, now: &State, delivery: u32) -> Vec<String> {
    let mut places: Vec<&String> = first.keys().chain(now.keys()).collect();
    places.sort_unstable();
    places.dedup();
    let of_place = |place: &String| {
        let fields = Comparison::Delivery(delivery).compare(first.get(place), now.get(place));
        fields
            .into_iter()
            .map(move |field| format!("{place}: {field}"))
            .collect::<Vec<_>>()
    };
    places.into_iter().flat_map(of_place).collect()
}

fn list(documents: &BTreeMap<String, Value>) -> String {
    if documents.is_empty() {
        return "are no documents".to_owned();
    }
    let ids: Vec<String> = documents.keys().map(|id| format!("{id:?}")).collect();
    format!("are the documents {}", ids.join(", "))
}
