//! A specification without a server writes the documents that a store writes.

use crate::support::database;
use emmett_postgresql::testing::ProjectionSpec;
use emmett_postgresql::{
    DocumentProjection, Event, EventStore, Projector, RawEvent, Recorded, StreamMessages,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value, json};

const APPENDS: usize = 300;

#[derive(Debug, Clone, Serialize, Deserialize)]
enum ItemEvent {
    Put {
        shelf: String,
        name: String,
        content: Value,
    },
    Merged {
        shelves: Vec<String>,
    },
    Cleared {
        shelf: String,
    },
}

impl Event for ItemEvent {
    const CATEGORY: &'static str = "Item";
}

/// Keeps what it can see: the positions and, if each append is folded by itself, the fields in their order and the version.
fn shelves(is_each_folded: bool) -> DocumentProjection<Value> {
    DocumentProjection::named("shelves")
        .on(
            |recorded: &Recorded<ItemEvent>| match &recorded.event {
                ItemEvent::Put { shelf, .. } | ItemEvent::Cleared { shelf } => vec![shelf.clone()],
                ItemEvent::Merged { shelves } => shelves.clone(),
            },
            move |shelf: Option<Value>, recorded| {
                let mut shelf = read(shelf, recorded.global_position, is_each_folded);
                match &recorded.event {
                    ItemEvent::Put { name, content, .. } => {
                        shelf.insert(name.clone(), content.clone())
                    }
                    ItemEvent::Merged { shelves } => shelf.insert("merged".into(), json!(shelves)),
                    ItemEvent::Cleared { .. } => return None,
                };
                Some(Value::Object(shelf))
            },
        )
        .on_stream(
            move |stream: Option<Value>, recorded: &Recorded<RawEvent>| {
                let mut stream = read(stream, recorded.global_position, is_each_folded);
                stream.insert("data".into(), recorded.event.data.clone());
                (recorded.message_type != "Closed").then_some(Value::Object(stream))
            },
        )
        .can_handle(&["Noted", "Closed"])
        .categories(&["Note"])
}

fn read(document: Option<Value>, position: u64, is_each_folded: bool) -> Map<String, Value> {
    let mut document = match document {
        Some(Value::Object(document)) => document,
        _ => Map::new(),
    };
    let names: Vec<String> = document.keys().cloned().collect();
    let was = document.get("_version").cloned();
    if is_each_folded {
        document.insert("names as read".into(), json!(names));
        document.insert("was version".into(), json!(was));
    }
    document.insert("at".into(), json!(position));
    document
}

/// Numbers that look random, the same in each run.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u32) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(self.0 >> 33).map_or(0, |number| number % sides)
    }

    fn pick<'n>(&mut self, names: &[&'n str]) -> &'n str {
        let sides = u32::try_from(names.len()).unwrap_or(1);
        names[self.throw(sides) as usize]
    }

    fn shelf(&mut self) -> String {
        format!("shelf {}", self.throw(30))
    }

    fn content(&mut self, depth: u32) -> Value {
        match self.throw(if depth > 2 { 6 } else { 9 }) {
            0 => json!(self.throw(1_000)),
            1 => json!(-1.5e20),
            2 => Number::from_f64(1.0 / f64::from(self.throw(9) + 1))
                .map_or(Value::Null, Value::Number),
            3 => json!("é \" \\ \u{b} _id"),
            4 => json!(1e-7),
            5 => Value::Null,
            6 => (0..self.throw(4))
                .map(|_| self.content(depth + 1))
                .collect(),
            _ => {
                let names = ["long name", "b", "aa", "_id", "a", "_version"];
                let fields = (0..self.throw(5))
                    .map(|_| (self.pick(&names).to_owned(), self.content(depth + 1)));
                Value::Object(fields.collect())
            }
        }
    }

    fn item(&mut self) -> ItemEvent {
        match self.throw(8) {
            0 => ItemEvent::Cleared {
                shelf: self.shelf(),
            },
            1 => ItemEvent::Merged {
                shelves: (0..self.throw(4)).map(|_| self.shelf()).collect(),
            },
            _ => ItemEvent::Put {
                shelf: self.shelf(),
                name: self.pick(&["one", "other", "z", "_id", "_version"]).into(),
                content: self.content(0),
            },
        }
    }

    fn note(&mut self) -> RawEvent {
        let name = self.pick(&["Noted", "Noted", "Closed", "Unknown"]);
        RawEvent::new(name, self.content(0))
    }
}

/// One append: a stream and its events.
enum Append {
    Items(String, Vec<ItemEvent>),
    Notes(String, Vec<RawEvent>),
}

fn history() -> Vec<Append> {
    let mut dice = Dice(16);
    let append = |_| {
        let (stream, count) = (dice.throw(40), dice.throw(4) + 1);
        if dice.throw(3) == 0 {
            let notes = (0..count).map(|_| dice.note()).collect();
            return Append::Notes(format!("Note-{stream}"), notes);
        }
        let items = (0..count).map(|_| dice.item()).collect();
        Append::Items(format!("Item-{stream}"), items)
    };
    (0..APPENDS).map(append).collect()
}

fn append_all(store: &EventStore) -> anyhow::Result<()> {
    for append in history() {
        let messages = match append {
            Append::Items(stream, items) => StreamMessages::new(&stream, &items)?,
            Append::Notes(stream, notes) => StreamMessages::new(&stream, &notes)?,
        };
        store.append_to_streams(vec![messages])?;
    }
    Ok(())
}

/// Compares the documents of a specification with those of a collection.
fn compare(documents: Vec<Value>, is_each_folded: bool) -> anyhow::Result<()> {
    anyhow::ensure!(documents.len() > 25, "too few: {}", documents.len());
    let expected = documents.into_iter().map(|mut document| {
        let id = document["_id"].as_str().unwrap_or_default().to_owned();
        if !is_each_folded && let Some(fields) = document.as_object_mut() {
            fields.remove("_version");
        }
        (id, document)
    });
    let mut spec = ProjectionSpec::of(shelves(is_each_folded));
    for append in history() {
        spec = match append {
            Append::Items(stream, items) => spec.given(&stream, items),
            Append::Notes(stream, notes) => spec.given(&stream, notes),
        };
    }
    spec.when("Elsewhere-1", [RawEvent::new("Noted", json!({}))])
        .documents(expected.collect::<Vec<_>>());
    Ok(())
}

fn all(store: &EventStore) -> anyhow::Result<Vec<Value>> {
    Ok(store
        .collection::<Value>("shelves")
        .find(json!({}))
        .to_vec()?)
}

#[test]
fn a_specification_writes_the_documents_of_an_inline_projection() -> anyhow::Result<()> {
    let database = database();
    let store = EventStore::builder(database.url())
        .inline_projection(shelves(true))
        .open()?;
    append_all(&store)?;
    compare(all(&store)?, true)
}

#[test]
fn a_specification_writes_the_documents_of_a_consumer() -> anyhow::Result<()> {
    let database = database();
    let store = EventStore::open(database.url())?;
    append_all(&store)?;
    let consumer = store.consumer().projector(Projector::new(shelves(false)));
    assert!(consumer.run_until_caught_up()?.handled() > 0);
    // A consumer folds several appends before it writes, so its documents have other versions.
    compare(all(&store)?, false)
}
