//! Keeps documents without events: a typed, blocking MongoDB over PostgreSQL.
//!
//! `cargo run --example 05_documents`; `cargo run --example pongo` is a whole application.

use emmett_postgresql::pongo::{
    CollectionDefinition, Index, PongoClient, Update, UpdateOptions, field,
};
use emmett_postgresql::testing;
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Serialize, Deserialize)]
struct Book {
    title: String,
    authors: Vec<String>,
    copies: i64,
}

fn book(title: &str, authors: &[&str], copies: i64) -> Book {
    let (title, authors) = (
        title.to_owned(),
        authors.iter().map(ToString::to_string).collect(),
    );
    Book {
        title,
        authors,
        copies,
    }
}

fn main() -> anyhow::Result<()> {
    let database = testing::Server::shared()?.create_database()?;
    let client = PongoClient::builder(database.url())
        .collection(CollectionDefinition::new("books").index(Index::field("title")))
        .connect()?;
    let books = client.collection::<Book>("books");

    let odyssey = books.insert_one(&book("The Odyssey", &["Homer"], 2))?;
    books.insert_one(&book("Refactoring", &["Fowler", "Beck"], 0))?;
    println!("inserted: version {}", odyssey.version);

    // A filter is MongoDB's document, or is built, so that a misspelt operator does not compile.
    let by_beck = books.find_one(json!({"authors": "Beck"}))?;
    println!("by Beck: {:?}", by_beck.map(|book| book.title));
    println!(
        "available: {}",
        books.count_documents(field("copies").gt(0))?
    );

    let unchanged = || UpdateOptions::new().expected_version(odyssey.version);
    let lend = || Update::new().inc("copies", -1);
    books.update_one_with(json!({"_id": odyssey.id}), lend(), unchanged())?;
    let second = books.update_one_with(json!({"_id": odyssey.id}), lend(), unchanged());
    println!("lent twice from one version: {}", second.is_err());
    println!("next: cargo run --example 06_tenants");
    Ok(())
}
