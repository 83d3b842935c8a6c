//! A lending library that keeps its documents in PostgreSQL and has never heard of events.
//!
//! `cargo run --example pongo`: on a throwaway PostgreSQL, or on the server that `EMMETT_TEST_DATABASE_URL` names, in a database
//! of its own either way.

use anyhow::{Context, Result, bail};
use emmett_postgresql::pongo::{
    Collection, CollectionDefinition, HandleOptions, Index, PongoClient, ReturnDocument, Update,
    UpdateOptions, field,
};
use emmett_postgresql::testing;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A book. It has an id and a version, as every document; who wants to see them has fields for them.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Book {
    #[serde(rename = "_id", skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    isbn: String,
    title: String,
    authors: Vec<String>,
    copies: i64,
    #[serde(default)]
    lent_to: Vec<String>,
}

/// A reader knows nothing of ids: hers is the name of the document.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Reader {
    name: String,
    borrowed: Vec<String>,
}

fn book(isbn: &str, title: &str, authors: &[&str], copies: i64) -> Book {
    Book {
        id: None,
        isbn: isbn.into(),
        title: title.into(),
        authors: authors.iter().map(|&author| author.to_owned()).collect(),
        copies,
        lent_to: Vec::new(),
    }
}

/// The collections and their indexes are declared where the client is made: connecting creates what is missing. Titles are
/// sorted by an index on the field; one of several authors is found by an index on the whole document.
fn connect(url: &str) -> Result<PongoClient> {
    let books = CollectionDefinition::new("books")
        .index(Index::unique("isbn"))
        .index(Index::field("title"))
        .index(Index::whole_document());
    Ok(PongoClient::builder(url)
        .collection(books)
        .collection(CollectionDefinition::new("readers"))
        .connect()?)
}

fn main() -> Result<()> {
    let database = testing::Server::shared()?.create_database()?;
    let client = connect(database.url())?;
    let books = client.collection::<Book>("books");
    let readers = client.collection::<Reader>("readers");

    shelve(&books)?;
    search(&books)?;
    lend(&client, "anna", "978-0-14-044926-6")?;
    lend_at_once(&client)?;
    give_back(&readers)?;
    number_the_shelves(&client)?;
    read_all(&books)
}

fn shelve(books: &Collection<'_, Book>) -> Result<()> {
    books.delete_many(json!({}))?;
    let ids = books.insert_many(&[
        book("978-0-14-044926-6", "The Odyssey", &["Homer"], 2),
        book(
            "978-0-06-088328-7",
            "One Hundred Years of Solitude",
            &["García Márquez"],
            1,
        ),
        book("978-0-201-48567-7", "Refactoring", &["Fowler", "Beck"], 3),
        book("978-0-321-12521-7", "Domain-Driven Design", &["Evans"], 1),
    ])?;
    println!("{} books are on the shelves.", ids.len());

    let again = books.insert_one(&book("978-0-14-044926-6", "A pirate's Odyssey", &[], 1));
    println!(
        "The same ISBN again: {}.",
        again.err().context("two books of one ISBN")?
    );
    Ok(())
}

/// A filter is MongoDB's document, or is built, so that a misspelt operator does not compile.
fn search(books: &Collection<'_, Book>) -> Result<()> {
    let by_beck = books
        .find_one(json!({"authors": "Beck"}))?
        .context("Beck wrote one")?;
    println!("Beck wrote {:?} with others.", by_beck.title);

    let rare = field("copies").lte(1).and(field("title").matches("^[A-M]"));
    let titles: Vec<Value> = books
        .find(rare)
        .select(json!({"title": 1, "_id": 0}))
        .sort(json!({"title": 1}))
        .to_vec()?;
    println!("Rare, and in the first half of the alphabet: {titles:?}.");
    println!(
        "All authors: {:?}.",
        books.distinct::<String>("authors", json!({}))?
    );
    Ok(())
}

/// The book and the reader are changed together or not at all.
fn lend(client: &PongoClient, reader: &str, isbn: &str) -> Result<()> {
    client.with_transaction(|transaction| {
        let lent = transaction
            .collection::<Book>("books")
            .find_one_and_update(
                field("isbn").eq(isbn).and(field("copies").gt(0)),
                Update::new().inc("copies", -1).push("lent_to", reader),
            )?;
        let Some(lent) = lent else {
            bail!("no copy of {isbn} is left");
        };
        transaction
            .collection::<Reader>("readers")
            .update_one_with(
                json!({"_id": reader}),
                Update::new()
                    .set_on_insert("name", reader)
                    .add_to_set("borrowed", &lent.title),
                UpdateOptions::new().upsert(),
            )?;
        Ok(())
    })?;
    println!("{reader} has borrowed {isbn}.");
    Ok(())
}

/// Many readers want the last copies. No copy is lent twice.
fn lend_at_once(client: &PongoClient) -> Result<()> {
    let lent = std::thread::scope(|scope| {
        let readers: Vec<_> = (1..=5)
            .map(|number| {
                scope.spawn(move || lend(client, &format!("reader {number}"), "978-0-201-48567-7"))
            })
            .collect();
        readers
            .into_iter()
            .filter_map(|reader| reader.join().ok()?.ok())
            .count()
    });
    println!("Five wanted one of three copies; {lent} got one.");
    if lent != 3 {
        bail!("{lent} copies were lent");
    }
    Ok(())
}

/// A change beyond the operators is decided in Rust: load, decide, store, and again after a conflict.
fn give_back(readers: &Collection<'_, Reader>) -> Result<()> {
    let handled = readers.handle_with("anna", HandleOptions::new().retry(10), |reader| {
        let mut reader = reader.unwrap_or_default();
        reader.borrowed.retain(|title| title != "The Odyssey");
        Ok(Some(reader))
    })?;
    println!(
        "Anna has given it back: her document is at version {}.",
        handled.version.unwrap_or(0)
    );

    let stale = readers.handle(("anna", 1), Ok);
    println!(
        "Who still believes in version 1 is told: {}.",
        stale.err().context("no conflict")?
    );
    Ok(())
}

fn number_the_shelves(client: &PongoClient) -> Result<()> {
    let counters = client.collection::<Value>("counters");
    for shelf in ["fiction", "crafts"] {
        let next = counters.find_one_and_update_with(
            json!({"_id": "shelf"}),
            json!({"$inc": {"number": 1}}),
            ReturnDocument::After,
            UpdateOptions::new().upsert(),
        )?;
        println!(
            "Shelf {} is for {shelf}.",
            next.context("upserted")?["number"]
        );
    }
    Ok(())
}

/// In pages for people, in a stream for programs.
fn read_all(books: &Collection<'_, Book>) -> Result<()> {
    let by_title = || books.find(json!({})).sort(json!({"title": 1}));
    let first = by_title().page(3)?;
    let rest = by_title()
        .after(&first.next.context("there are four")?)
        .page(3)?;
    println!(
        "Pages of {} and {} books.",
        first.documents.len(),
        rest.documents.len()
    );
    for book in by_title().batch_size(2).cursor()? {
        let book = book?;
        println!(
            "- {}: {} left, lent to {:?}",
            book.title, book.copies, book.lent_to
        );
    }
    let plan = books.find(json!({"title": "Refactoring"})).explain()?;
    println!(
        "PostgreSQL would look for a title like this:\n{}",
        plan.lines().next().unwrap_or("")
    );
    Ok(())
}
