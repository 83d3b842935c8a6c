//! Collections, compared with the same work in hand-written SQL, with prepared statements and the same types.

use crate::harness::{Harness, Turn};
use anyhow::{Context, Result, ensure};
use emmett_postgresql::ConnectionOptions;
use emmett_postgresql::pongo::{Collection, CollectionDefinition, Index, PongoClient};
use emmett_postgresql::testing::Server;
use postgres::types::Json;
use postgres::{Client, Statement};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

/// How many documents there are before anything is measured.
const STORED: u64 = 10_000;
const MANY: u64 = 100;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Cart {
    customer: String,
    status: String,
    items: i64,
    total: f64,
    lines: Vec<Line>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Line {
    product: String,
    quantity: i64,
    price: f64,
}

fn cart(number: u64) -> Cart {
    let line = |product: &str| Line {
        product: product.to_owned(),
        quantity: 2,
        price: 19.95,
    };
    Cart {
        customer: format!("customer-{number}"),
        status: "open".to_owned(),
        items: 0,
        total: 79.8,
        lines: vec![line("shoes"), line("shirt")],
    }
}

fn id(number: u64) -> String {
    format!("cart-{}", number % STORED)
}

pub(crate) fn run(harness: &Harness, server: &Server) -> Result<()> {
    let names = [
        "insert 1 document",
        "insert 100 documents",
        "insert 100 indexed documents",
        "find a document by id",
        "find a document by an indexed field",
        "increment a field of a document",
        "handle 1 document",
        "handle 100 documents",
    ];
    if !names.iter().any(|name| harness.wants(name)) {
        return Ok(());
    }
    let database = server.create_database()?;
    let client = PongoClient::builder(database.url())
        .connection_options(ConnectionOptions::new().pool_size(1))
        .collection(CollectionDefinition::new("carts"))
        .collection(CollectionDefinition::new("indexed_carts").index(Index::field("customer")))
        .connect()?;
    let carts = client.collection::<Cart>("carts");
    let indexed = client.collection::<Cart>("indexed_carts");
    let mut plain = Plain::new(database.client()?)?;
    fill(database.client()?)?;

    for name in names.into_iter().filter(|name| harness.wants(name)) {
        let mut next = 0;
        let mut plain_next = 0;
        harness.compare(
            name,
            |turn| turn.repeat(|| ours(name, &carts, &indexed, turn, &mut next)),
            |turn| turn.repeat(|| plain.run(name, turn, &mut plain_next)),
        )?;
    }
    Ok(())
}

/// The same documents on both sides.
fn fill(mut client: Client) -> Result<()> {
    for table in [
        "carts (_id, data)",
        "indexed_carts (_id, data)",
        "plain_carts (id, data)",
        "plain_indexed_carts (id, data)",
    ] {
        client.batch_execute(&format!(
            "INSERT INTO {table}
             SELECT 'cart-' || n, jsonb_build_object('customer', 'customer-' || n, 'status', 'open',
                        'items', 0, 'total', 79.8, 'lines', jsonb_build_array(
                            jsonb_build_object('product', 'shoes', 'quantity', 2, 'price', 19.95),
                            jsonb_build_object('product', 'shirt', 'quantity', 2, 'price', 19.95)))
               FROM generate_series(0, {}) AS n",
            STORED - 1
        ))?;
    }
    client.batch_execute("ANALYZE")?;
    Ok(())
}

fn ours(
    name: &str,
    carts: &Collection<'_, Cart>,
    indexed: &Collection<'_, Cart>,
    turn: Turn,
    next: &mut u64,
) -> Result<u64> {
    let number = following(turn, next);
    match name {
        "insert 1 document" => {
            carts.insert_one(&cart(number))?;
            Ok(1)
        }
        "insert 100 documents" => Ok(carts.insert_many(&new_carts(number))?.len() as u64),
        "insert 100 indexed documents" => Ok(indexed.insert_many(&new_carts(number))?.len() as u64),
        "find a document by id" => {
            let found = carts.find_by_id(&id(number))?.context("stored")?;
            Ok(u64::from(found.status == "open"))
        }
        "find a document by an indexed field" => {
            let customer = format!("customer-{}", number % STORED);
            let found = indexed.find(json!({"customer": customer})).to_vec()?;
            ensure!(!found.is_empty(), "one is stored");
            Ok(1)
        }
        "increment a field of a document" => {
            let updated =
                carts.update_one(json!({"_id": id(number)}), json!({"$inc": {"items": 1}}))?;
            Ok(u64::from(updated.modified))
        }
        "handle 1 document" => {
            carts.handle(id(number), |cart| Ok(cart.map(one_more)))?;
            Ok(1)
        }
        _ => {
            let ids = (0..MANY).map(|offset| id(number.wrapping_add(offset)));
            let handled = carts.handle_many(ids, |_, cart| Ok(cart.map(one_more)))?;
            Ok(handled.len() as u64)
        }
    }
}

/// Of customers who have none yet, so that a search goes on finding one.
fn new_carts(number: u64) -> Vec<Cart> {
    (0..MANY)
        .map(|offset| cart(STORED + (number >> 1) + offset))
        .collect()
}

fn one_more(mut cart: Cart) -> Cart {
    cart.items += 1;
    cart
}

fn new_id() -> String {
    Uuid::now_v7().to_string()
}

/// A number that both sides of a round come to in the same order.
fn following(turn: Turn, next: &mut u64) -> u64 {
    *next += 1;
    (turn.seed >> 8).wrapping_add(next.wrapping_mul(7_919))
}

/// What a program does without the library.
struct Plain {
    client: Client,
    insert: Statement,
    insert_many: Statement,
    insert_many_indexed: Statement,
    find: Statement,
    find_by_customer: Statement,
    increment: Statement,
    load: Statement,
    load_many: Statement,
    store: Statement,
    store_many: Statement,
}

impl Plain {
    fn new(mut client: Client) -> Result<Self> {
        for table in ["plain_carts", "plain_indexed_carts"] {
            client.batch_execute(&format!(
                "CREATE TABLE {table} (id TEXT PRIMARY KEY, data JSONB NOT NULL, version BIGINT NOT NULL DEFAULT 1,
                     created TIMESTAMPTZ NOT NULL DEFAULT now(), updated TIMESTAMPTZ NOT NULL DEFAULT now())
                     WITH (fillfactor = 80)"
            ))?;
        }
        client.batch_execute("CREATE INDEX ON plain_indexed_carts ((data ->> 'customer'))")?;
        let insert_many = |table| {
            format!(
                "INSERT INTO {table} (id, data) SELECT id, data FROM unnest($1::text[], $2::jsonb[]) AS new (id, data)"
            )
        };
        Ok(Self {
            insert: client.prepare("INSERT INTO plain_carts (id, data) VALUES ($1, $2)")?,
            insert_many: client.prepare(&insert_many("plain_carts"))?,
            insert_many_indexed: client.prepare(&insert_many("plain_indexed_carts"))?,
            find: client.prepare("SELECT data, version FROM plain_carts WHERE id = $1")?,
            find_by_customer: client
                .prepare("SELECT data, version FROM plain_indexed_carts WHERE data ->> 'customer' = $1")?,
            increment: client.prepare(
                "UPDATE plain_carts
                    SET data = jsonb_set(data, '{items}', to_jsonb((data ->> 'items')::numeric + $2::text::numeric)),
                        version = version + 1, updated = now()
                  WHERE id = $1 RETURNING version",
            )?,
            load: client.prepare("SELECT data, version FROM plain_carts WHERE id = $1")?,
            load_many: client
                .prepare("SELECT id, data, version FROM plain_carts WHERE id = ANY($1)")?,
            store: client.prepare(
                "UPDATE plain_carts SET data = $2, version = version + 1, updated = now()
                  WHERE id = $1 AND version = $3",
            )?,
            store_many: client.prepare(
                "UPDATE plain_carts AS cart SET data = new.data, version = cart.version + 1, updated = now()
                   FROM unnest($1::text[], $2::jsonb[], $3::bigint[]) AS new (id, data, version)
                  WHERE cart.id = new.id AND cart.version = new.version",
            )?,
            client,
        })
    }

    fn run(&mut self, name: &str, turn: Turn, next: &mut u64) -> Result<u64> {
        let number = following(turn, next);
        match name {
            "insert 1 document" => {
                let id = new_id();
                self.client
                    .execute(&self.insert, &[&id, &Json(cart(number))])
                    .map_err(Into::into)
            }
            "insert 100 documents" => {
                let statement = self.insert_many.clone();
                self.insert_many(&statement, number)
            }
            "insert 100 indexed documents" => {
                let statement = self.insert_many_indexed.clone();
                self.insert_many(&statement, number)
            }
            "find a document by id" => {
                let row = self.client.query_one(&self.find, &[&id(number)])?;
                let found: Json<Cart> = row.try_get(0)?;
                Ok(u64::from(found.0.status == "open"))
            }
            "find a document by an indexed field" => {
                let customer = format!("customer-{}", number % STORED);
                let rows = self.client.query(&self.find_by_customer, &[&customer])?;
                let found = rows
                    .iter()
                    .map(|row| row.try_get(0))
                    .collect::<Result<Vec<Json<Cart>>, _>>()?;
                ensure!(!found.is_empty(), "one is stored");
                Ok(1)
            }
            "increment a field of a document" => {
                let rows = self.client.query(&self.increment, &[&id(number), &"1"])?;
                Ok(rows.len() as u64)
            }
            "handle 1 document" => self.handle_one(&id(number)),
            _ => self.handle_many(number),
        }
    }

    fn insert_many(&mut self, statement: &Statement, number: u64) -> Result<u64> {
        let ids: Vec<String> = (0..MANY).map(|_| new_id()).collect();
        let new: Vec<Json<Cart>> = new_carts(number).into_iter().map(Json).collect();
        Ok(self.client.execute(statement, &[&ids, &new])?)
    }

    fn handle_one(&mut self, id: &str) -> Result<u64> {
        let row = self.client.query_one(&self.load, &[&id])?;
        let (Json(cart), version): (Json<Cart>, i64) = (row.try_get(0)?, row.try_get(1)?);
        let stored = Json(one_more(cart));
        Ok(self
            .client
            .execute(&self.store, &[&id, &stored, &version])?)
    }

    fn handle_many(&mut self, number: u64) -> Result<u64> {
        let ids: Vec<String> = (0..MANY)
            .map(|offset| id(number.wrapping_add(offset)))
            .collect();
        let mut transaction = self.client.transaction()?;
        let (mut found, mut carts, mut versions) = (Vec::new(), Vec::new(), Vec::new());
        for row in transaction.query(&self.load_many, &[&ids])? {
            let Json(cart): Json<Cart> = row.try_get(1)?;
            found.push(row.try_get::<_, String>(0)?);
            carts.push(Json(one_more(cart)));
            versions.push(row.try_get::<_, i64>(2)?);
        }
        let stored = transaction.execute(&self.store_many, &[&found, &carts, &versions])?;
        transaction.commit()?;
        Ok(stored)
    }
}
